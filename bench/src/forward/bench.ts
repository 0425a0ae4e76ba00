/** ResNeXt-50 (32x4d), 224x224, all cores: Cardinal's predict path without decoding against PyTorch. */
import { writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { inferenceEnvironment } from "../../../apps/predict-worker/src/inference-process.ts";
import type { Bench, BenchContext, Outcome } from "../bench.ts";
import { LineProcess } from "../line-process.ts";
import { alternate, type Contestant, type Measured, ratio, takeTurns } from "../turns.ts";
import { type ModelFiles, noiseImages, writeModel } from "./model.ts";
import { predictChildPeakRssMb } from "./predict-child-memory.ts";

const TURN_SECONDS = 1.5;
const OUR_BATCHES = [1, 2, 4];
const THEIR_BATCHES = [1, 2, 16];
/** What people run: eager, NCHW, batch 2. */
const COMMON = "pytorch, nchw, batch 2";
/**
 * PyTorch's threads spin while they wait for each other, which is best on a quiet machine and costs nine tenths of the
 * speed on a busy one; there it is best that they sleep. Both are run, and the better one counts.
 */
const WAITING = [
  { suffix: "", env: {} },
  { suffix: ", passive wait", env: { OMP_WAIT_POLICY: "passive" } },
];
/** max |difference| / max |logit| of the same images. */
const LARGEST_ERROR = 1e-4;
/** The predict-worker's default batch. */
const BATCH_SIZE = 4;

export const forward: Bench = {
  title: "ResNeXt-50 forward, images a second, against PyTorch",
  rounds: 7,
  async run(context) {
    const cores = os.availableParallelism();
    const model = writeModel(context.folder);
    context.say("predict child: its memory with ResNeXt-50");
    const memory = await predictChildPeakRssMb({ ...context, model, threads: cores, batchSize: BATCH_SIZE });
    await using everyone = new AsyncDisposableStack();
    const start = async (starting: Promise<LineProcess>) => everyone.use(await starting);
    const together = await start(ourProcess(model, cores));
    const apart = await Promise.all(Array.from({ length: cores }, () => start(ourProcess(model, 1))));
    const peers = await Promise.all(WAITING.map(({ env }) => start(theirProcess(context, model, cores, env))));
    const error = await largestError(context, together, peers[0]!);
    const ours = [
      ...ourTurns(`1 process x ${cores} threads`, [together]),
      ...ourTurns(`${cores} processes x 1 thread`, apart),
    ];
    const theirs = peers.flatMap((peer, index) => theirTurns(peer, WAITING[index]!.suffix));
    context.say(`${context.rounds} rounds of ${ours.length + theirs.length} turns of ${TURN_SECONDS} s`);
    const measured = await takeTurns(alternate(ours, theirs), context.rounds);
    return outcome(measured, error, memory, { ...together.versions, ...peers[0]!.versions });
  },
};

function ourProcess(model: ModelFiles, threads: number): Promise<LineProcess> {
  const file = fileURLToPath(import.meta.resolve("./child.ts"));
  // In the environment of the predict-worker's compute process: its memory settings are part of its speed.
  const env = inferenceEnvironment({ threads, batchSize: BATCH_SIZE, cacheDir: "", modelMemoryMb: 500 });
  return LineProcess.start({ command: process.execPath, args: [file, model.onnx, `${threads}`], env });
}

function theirProcess(
  { python }: BenchContext,
  model: ModelFiles,
  threads: number,
  env: NodeJS.ProcessEnv,
): Promise<LineProcess> {
  const file = fileURLToPath(import.meta.resolve("../../peers/forward.py"));
  return LineProcess.start({ command: python, args: [file, model.safetensors, `${threads}`], env });
}

function ourTurns(name: string, processes: LineProcess[]): Contestant[] {
  return OUR_BATCHES.map((batch) => ({
    name: `cardinal, ${name}, batch ${batch}`,
    unit: "images/s",
    async turn() {
      const rates = processes.map((process) => process.ask<number>("rate", { batch, seconds: TURN_SECONDS }));
      return (await Promise.all(rates)).reduce((sum, rate) => sum + rate, 0);
    },
  }));
}

function theirTurns(peer: LineProcess, suffix: string): Contestant[] {
  return ["nchw", "channels_last"].flatMap((layout) =>
    THEIR_BATCHES.map((batch) => ({
      name: `pytorch, ${layout}, batch ${batch}${suffix}`,
      unit: "images/s",
      turn: () => peer.ask<number>("rate", { layout, batch, seconds: TURN_SECONDS }),
    })),
  );
}

/** Throws when the two do not compute the same: then their speeds say nothing. */
async function largestError({ folder }: BenchContext, ours: LineProcess, peer: LineProcess): Promise<number> {
  const input = path.join(folder, "input.f32");
  const images = noiseImages(2);
  writeFileSync(input, new Uint8Array(images.buffer));
  const logits = await ours.ask<number[]>("logits", { input });
  let worst = 0;
  for (const layout of ["nchw", "channels_last"]) {
    const theirs = (await peer.ask<number[][]>("logits", { layout, input })).flat();
    const scale = Math.max(...theirs.map(Math.abs));
    const difference = Math.max(...theirs.map((logit, i) => Math.abs(logit - logits[i]!)));
    if (logits.length !== theirs.length || !(difference / scale <= LARGEST_ERROR)) {
      throw new Error(`logits differ from PyTorch's (${layout}) by ${difference} of ${scale}: nothing was timed`);
    }
    worst = Math.max(worst, difference / scale);
  }
  return worst;
}

function outcome(
  measured: Measured[],
  error: number,
  memory: number | undefined,
  versions: Record<string, string>,
): Outcome {
  const ours = measured.filter(({ name }) => name.startsWith("cardinal"));
  const theirs = measured.filter(({ name }) => name.startsWith("pytorch"));
  const common = theirs.filter(({ name }) => WAITING.some(({ suffix }) => name === COMMON + suffix));
  const extra: Measured[] = [{ name: "logitsRelativeError", unit: "of the largest logit", samples: [error] }];
  if (memory !== undefined) extra.push({ name: "predictChildPeakRssMb", unit: "MB", samples: [memory] });
  return {
    measured: [...measured.toSorted((a, b) => a.name.localeCompare(b.name)), ...extra],
    ratios: {
      vsTorchBest: { value: ratio(ours, theirs), target: { atLeast: 1.4 } },
      vsTorchBatch2: { value: ratio(ours, common), target: { atLeast: 1.6 } },
    },
    versions,
  };
}
