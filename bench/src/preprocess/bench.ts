/** JPEG to normalised tensor on one core, against Pillow and torchvision. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Bench, BenchContext } from "../bench.ts";
import { LineProcess } from "../line-process.ts";
import { type Contestant, ratio, takeTurns } from "../turns.ts";
import { texturedJpegs } from "./images.ts";

const IMAGES = 32;
const TURN_SECONDS = 1;
/** One level of 255 divided by the smallest standard deviation, and a rounding error. */
const LARGEST_DIFFERENCE = 1 / 255 / 0.224 + 1e-5;
export const preprocess: Bench = {
  title: "JPEG to tensor on one core, images a second, against Pillow and torchvision",
  rounds: 9,
  async run(context) {
    const files = await writeImages(context.folder);
    const core = firstCore();
    if (core === undefined) context.say("no taskset here: both may use further cores");
    const ourScript = fileURLToPath(import.meta.resolve("./child.ts"));
    const theirScript = fileURLToPath(import.meta.resolve("../../peers/preprocess.py"));
    await using ours = await LineProcess.start({ command: process.execPath, args: [ourScript, ...files], core });
    await using peer = await LineProcess.start({ command: context.python, args: [theirScript, ...files], core });
    const difference = await largestDifference(context, ours, peer);
    const rate = (name: string, process: LineProcess, task: string): Contestant => ({
      name,
      unit: "images/s",
      turn: () => process.ask<number>(task, { seconds: TURN_SECONDS }),
    });
    const contestants = [
      rate("cardinal, one after another", ours, "rate"),
      rate("pillow and torchvision", peer, "rate"),
      rate("cardinal, batches of 4", ours, "batchRate"),
    ];
    context.say(`${context.rounds} rounds of ${contestants.length} turns of ${TURN_SECONDS} s`);
    const [single, theirs, batched] = await takeTurns(contestants, context.rounds);
    const extra = { name: "largestDifference", unit: "after normalisation", samples: [difference] };
    return {
      measured: [single!, batched!, theirs!, extra],
      ratios: { vsPillow: { value: ratio([single!, batched!], [theirs!]), target: { atLeast: 1 } } },
      versions: { ...ours.versions, ...peer.versions },
    };
  },
};

/** The first core that this process may use; both sides run on it. Undefined where there is no taskset. */
function firstCore(): number | undefined {
  if (process.platform !== "linux") return undefined;
  return Number(/^Cpus_allowed_list:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))![1]);
}

async function writeImages(folder: string): Promise<string[]> {
  return (await texturedJpegs(IMAGES)).map((jpeg, index) => {
    const file = path.join(folder, `${index}.jpg`);
    writeFileSync(file, jpeg);
    return file;
  });
}

/** Throws when the two do not compute the same: then their speeds say nothing. */
async function largestDifference({ folder }: BenchContext, ours: LineProcess, peer: LineProcess): Promise<number> {
  const output = path.join(folder, "tensors.f32");
  const read = async (process: LineProcess) => {
    await process.ask("tensors", { output });
    const bytes = readFileSync(output);
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  };
  const [a, b] = [await read(ours), await read(peer)];
  if (a.length !== b.length) throw new Error(`${a.length} values, but ${b.length} of Pillow and torchvision`);
  const difference = a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i]!)), 0);
  if (difference <= LARGEST_DIFFERENCE) return difference;
  throw new Error(`tensors differ from torchvision's by up to ${difference}: nothing was timed`);
}
