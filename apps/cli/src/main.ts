/** `cardinal`: the embedded system and its demo. */
import { demo } from "./commands/demo.ts";
import { up } from "./commands/up.ts";
import { UsageError } from "./usage.ts";

const commands: Record<string, { run(args: string[]): Promise<number>; summary: string }> = {
  up: { run: up, summary: "run the whole system on this machine until Ctrl-C" },
  demo: { run: demo, summary: "train on real images and predict, start to end" },
};

const HELP = `Usage: cardinal <command> [options]

Commands:
${Object.entries(commands)
  .map(([name, { summary }]) => `  ${name.padEnd(8)} ${summary}`)
  .join("\n")}

cardinal <command> --help tells the options of a command.`;

/** Exit codes: 0 done, 1 failed, 2 wrong usage. */
export async function main(args: string[]): Promise<void> {
  const [name, ...rest] = args;
  const command = name !== undefined && Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!command) {
    const asked = name === undefined || name === "help" || name === "--help" || name === "-h";
    (asked ? console.log : console.error)(asked ? HELP : `cardinal: no command ${name}\n\n${HELP}`);
    process.exitCode = asked ? 0 : 2;
    return;
  }
  try {
    process.exitCode = await command.run(rest);
  } catch (error) {
    const isUsage = error instanceof UsageError;
    console.error(`cardinal ${name}: ${(error as Error).message}`);
    if (process.env.CARDINAL_DEBUG) console.error(error);
    process.exitCode = isUsage ? 2 : 1;
  }
}
