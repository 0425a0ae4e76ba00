/** `cardinal`: runs a command and turns how it ended into an exit code. */
import { CardinalError } from "@cardinal/contracts";
import { CommanderError } from "commander";
import { ExitCode } from "./exit-codes.ts";
import { makeProgram } from "./program.ts";

/** Exit codes: see `ExitCode`. With CARDINAL_DEBUG set, errors come with their stack. */
export async function main(args: string[]): Promise<void> {
  try {
    await makeProgram().parseAsync(args, { from: "user" });
  } catch (error) {
    process.exitCode = exitCodeOf(error);
    // Commander has written its own message already.
    if (error instanceof CommanderError) return;
    const code = error instanceof CardinalError ? ` (${error.code})` : "";
    console.error(`cardinal: ${(error as Error).message}${code}`);
    if (process.env.CARDINAL_DEBUG) console.error(error);
  }
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.done : ExitCode.usage;
  if (error instanceof CardinalError && error.status === 503) return ExitCode.unavailable;
  return ExitCode.failed;
}
