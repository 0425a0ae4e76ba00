/**
 * `POST /v1/predict/image` with ResNeXt-50, images arriving evenly spaced at 70% of what the system can answer: how much
 * longer an answer takes than the network's bare run. Times count from when an image should have been sent, so an
 * answer that keeps the next ones waiting counts in all of them.
 */
import os from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { inferenceEnvironment } from "../../../apps/predict-worker/src/inference-process.ts";
import type { Bench, BenchContext, Outcome } from "../bench.ts";
import { LineProcess } from "../line-process.ts";
import { distinctJpegs } from "../preprocess/images.ts";
import { type ServedModel, serveModel, warmUp } from "../system.ts";
import { median } from "../turns.ts";

const IMAGES = 64;
const LOAD = 0.7;
const CAPACITY_SECONDS = 6;
const ROUND_SECONDS = 20;
const SESSION_RUNS = 30;

export const latency: Bench = {
  title: "Single images over HTTP at 70% load: milliseconds above the network's own time",
  rounds: 3,
  withoutPeer: true,
  async run(context: BenchContext) {
    const workers = os.availableParallelism();
    const images = (await distinctJpegs(IMAGES)).map((jpeg) => new Uint8Array(jpeg));
    context.say(`a system with ${workers} predict-workers`);
    await using served = await serveModel(context.folder, workers);
    await warmUp(served, Buffer.from(images[0]!), workers);
    await using sessions = await startSessions(served, workers);
    const capacity = await imagesPerSecond(served, images, 2 * workers);
    context.say(`capacity ${capacity.toFixed(1)} images/s; ${context.rounds} rounds of ${ROUND_SECONDS} s`);
    const rounds: Round[] = [];
    for (let round = 0; round < context.rounds; round++) {
      const session = await sessions.ms();
      rounds.push({ session, times: await arrivals(served, images, LOAD * capacity) });
    }
    return outcome(capacity, rounds);
  },
};

interface Round {
  /** Milliseconds of the network's bare run, right before the round: a busy machine slows both. */
  session: number;
  /** Milliseconds of each answer. */
  times: number[];
}

interface Sessions extends AsyncDisposable {
  /** Median time of one image's run while every worker's share of the cores computes one. */
  ms(): Promise<number>;
}

async function startSessions({ files }: ServedModel, workers: number): Promise<Sessions> {
  const file = fileURLToPath(import.meta.resolve("../forward/child.ts"));
  const env = inferenceEnvironment({ threads: 1, batchSize: 1, cacheDir: "", modelMemoryMb: 500 });
  const start = () => LineProcess.start({ command: process.execPath, args: [file, files.onnx, "1"], env });
  const children = await Promise.all(Array.from({ length: workers }, start));
  return {
    async ms() {
      const times = await Promise.all(children.map((child) => child.ask<number[]>("times", { runs: SESSION_RUNS })));
      return median(times.flat().map((seconds) => 1000 * seconds));
    },
    async [Symbol.asyncDispose]() {
      for (const child of children) await child[Symbol.asyncDispose]();
    },
  };
}

/** Answers a second with so many callers, each of which asks again when it has its answer. */
async function imagesPerSecond(
  served: ServedModel,
  images: Uint8Array<ArrayBuffer>[],
  callers: number,
): Promise<number> {
  const start = performance.now();
  const elapsed = () => (performance.now() - start) / 1000;
  let answers = 0;
  const call = async (first: number) => {
    for (let i = first; elapsed() < CAPACITY_SECONDS; i++) {
      await served.client.predictImage(images[i % images.length]!, { model: served.model });
      answers++;
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, caller) => call(caller * 7)));
  return answers / elapsed();
}

/** Milliseconds from when each image was due to its answer. */
async function arrivals(served: ServedModel, images: Uint8Array<ArrayBuffer>[], rate: number): Promise<number[]> {
  const start = performance.now();
  const open: Promise<number>[] = [];
  for (let i = 0; i < rate * ROUND_SECONDS; i++) {
    const due = start + (1000 * i) / rate;
    if (due > performance.now()) await sleep(due - performance.now());
    const asked = served.client.predictImage(images[i % images.length]!, { model: served.model });
    open.push(asked.then(() => performance.now() - due));
  }
  return Promise.all(open);
}

function percentile(values: number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
}

function outcome(capacity: number, rounds: Round[]): Outcome {
  const over = (share: number) => rounds.map(({ times, session }) => percentile(times, share) - session);
  const [p50, p99] = [over(0.5), over(0.99)];
  return {
    measured: [
      { name: "bare session, 1 image, all cores at work", unit: "ms", samples: rounds.map(({ session }) => session) },
      { name: "capacity", unit: "images/s", samples: [capacity] },
      { name: "p50 over the session", unit: "ms", samples: p50 },
      { name: "p99 over the session", unit: "ms", samples: p99 },
    ],
    ratios: {
      p50OverSessionMs: { value: median(p50), target: { atMost: 25 } },
      p99OverSessionMs: { value: median(p99), target: { atMost: 60 } },
    },
    versions: {},
  };
}
