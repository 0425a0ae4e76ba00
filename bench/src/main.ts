/**
 * `npm run bench -- NAME [--json FILE] [--rounds N]`: runs a benchmark with its peer and prints what came out. A missed
 * target is said, and no failure: the exit code tells whether everything could be measured.
 */
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { ProvisionError } from "@cardinal/provision";
import type { Bench } from "./bench.ts";
import { forward } from "./forward/bench.ts";
import { latency } from "./latency/bench.ts";
import { describeMachine } from "./machine.ts";
import { peerPython } from "./peer-python.ts";
import { predict } from "./predict/bench.ts";
import { preprocess } from "./preprocess/bench.ts";
import { queue } from "./queue/bench.ts";
import { resultFile, table } from "./report.ts";
import { scale } from "./scale/bench.ts";
import { trainStep } from "./train-step/bench.ts";

const BENCHES: Record<string, Bench> = {
  forward,
  preprocess,
  predict,
  latency,
  "train-step": trainStep,
  scale,
  queue,
};

function usage(): string {
  const list = Object.entries(BENCHES).map(([name, { title }]) => `  ${name.padEnd(12)} ${title}`);
  return ["usage: npm run bench -- NAME [--json FILE] [--rounds N]", ...list].join("\n");
}

interface Arguments {
  name: string;
  bench: Bench;
  json?: string;
  rounds: number;
}

/** Throws an Error whose message says what is wrong. */
function readArguments(args: string[]): Arguments {
  const options = { json: { type: "string" }, rounds: { type: "string" } } as const;
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
  const [name = "", ...more] = positionals;
  const bench = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
  if (!bench || more.length > 0) throw new Error(name ? `no benchmark ${positionals.join(" ")}` : "name a benchmark");
  const rounds = values.rounds === undefined ? bench.rounds : Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`--rounds must be 1 or more, not ${values.rounds}`);
  return { name, bench, rounds, ...(values.json !== undefined && { json: values.json }) };
}

async function measure({ name, bench, json, rounds }: Arguments): Promise<void> {
  const complete = describeMachine();
  const say = (line: string) => console.error(line);
  const folder = await mkdtemp(path.join(tmpdir(), "cardinal-bench-"));
  try {
    const outcome = await bench.run({ rounds, python: bench.withoutPeer ? "" : await peerPython(say), folder, say });
    const machine = complete(outcome.versions);
    console.log(table(name, machine, outcome));
    if (json !== undefined)
      writeFileSync(json, `${JSON.stringify(resultFile(name, machine, outcome), undefined, 2)}\n`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function main(args: string[]): Promise<void> {
  let wanted: Arguments;
  try {
    wanted = readArguments(args);
  } catch (error) {
    console.error(`bench: ${(error as Error).message}\n${usage()}`);
    process.exitCode = 2;
    return;
  }
  try {
    await measure(wanted);
  } catch (error) {
    if (!(error instanceof ProvisionError)) throw error;
    console.error(`bench: ${error.message}`);
    process.exitCode = 1;
  }
}

await main(process.argv.slice(2));
