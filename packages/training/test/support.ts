/** Small real trainings: some digits in a directory store, the small architecture, tens of steps. */
import path from "node:path";
import {
  type CardinalError,
  type TrainPayload,
  type TrainRequest,
  trainRequestSchema,
  type WorkEvent,
} from "@cardinal/contracts";
import { blobReader, ingestArchive } from "@cardinal/dataset";
import { extractShard, ModelCache, SessionPool } from "@cardinal/inference";
import { type ObjectStore, openStore } from "@cardinal/storage";
import { digitImages, digitsZip, tempDir, writeZip, type ZipEntry } from "@cardinal/testing";
import { planFeatures, runTraining, type TrainingOptions } from "@cardinal/training";

// Read by TensorFlow at its first op, which is later than this.
process.env.TF_NUM_INTRAOP_THREADS = "2";
process.env.OMP_NUM_THREADS = "2";

export const THREADS = 2;
export const SMALL = "resnext14_8x4d";

export interface TestStore extends AsyncDisposable {
  store: ObjectStore;
  /** Ingests images and gives the pinned reference. */
  ingest(
    name: string,
    images: AsyncIterable<ZipEntry> | Iterable<ZipEntry>,
  ): Promise<TrainPayload["request"]["dataset"]>;
  digits(train: number, val: number): Promise<TrainPayload["request"]["dataset"]>;
}

export async function testStore(): Promise<TestStore> {
  const folder = await tempDir("training");
  const store = await openStore({ kind: "directory", path: path.join(folder.path, "store") });
  const ingestFile = async (name: string, archivePath: string) => {
    const request = { name, valFraction: 0.1, seed: 0 };
    const { dataset, version } = await ingestArchive({ archivePath, store, request, emit: () => {} });
    return { name: dataset, version };
  };
  return {
    store,
    async ingest(name, images) {
      const file = path.join(folder.path, `${name}.zip`);
      await writeZip(file, images);
      return ingestFile(name, file);
    },
    async digits(train, val) {
      await using zip = await digitsZip({ train, val });
      return ingestFile(`digits-${train}-${val}`, zip.path);
    },
    async [Symbol.asyncDispose]() {
      await store.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Digits of the four classes 0 to 3; `train` counts those of all ten. Of 100: 40 training images, 16 to validate. */
export async function fewDigits(train = 100): Promise<ZipEntry[]> {
  return (await collect(digitImages({ train, val: 40 }))).filter(({ name }) => /\/[0-3]\//.test(name));
}

let jobs = 0;

/** A job's payload; every call is another job. */
export function payload(
  dataset: TrainPayload["request"]["dataset"],
  request: Partial<Record<keyof TrainRequest, unknown>> = {},
): TrainPayload {
  const defaults = { architecture: SMALL, epochs: 2, batchSize: 16, optimizer: { learningRate: 1e-3 } };
  const parsed = trainRequestSchema.parse({ dataset: dataset.name, ...defaults, ...request });
  const job = `train-${String(jobs++).padStart(26, "0")}`;
  return { v: 1, job, request: { ...parsed, architecture: parsed.architecture ?? SMALL, dataset } };
}

export interface Run {
  events: WorkEvent[];
  options: TrainingOptions;
  /** Makes the run stop at the next step. */
  stop(reason: "cancelled" | "drain"): void;
}

/** Options for an attempt; `on` sees every event and may stop the run or throw, which ends it as a death would. */
export function attempt(
  store: ObjectStore,
  job: TrainPayload,
  number = 1,
  on: (event: WorkEvent, run: Run) => void = () => {},
): Run {
  const controller = new AbortController();
  let reason: "cancelled" | "drain" | undefined;
  const run: Run = {
    events: [],
    stop(why) {
      reason = why;
      controller.abort();
    },
    options: {
      ...{ store, payload: job, attempt: number, threads: THREADS, software: "cardinal test" },
      emit: (event) => {
        run.events.push(event);
        on(event, run);
      },
      signal: controller.signal,
      stopReason: () => reason,
      mayPublish: async () => true,
    },
  };
  return run;
}

/** What predict-workers do for a job that trains a head. Gives the number of images that they were asked for. */
export async function extractFeatures(store: ObjectStore, job: TrainPayload): Promise<number> {
  const emit = () => {};
  const shards = await planFeatures({ store, payload: job, emit });
  if (shards.length === 0) return 0;
  await using folder = await tempDir("networks");
  const cache = new ModelCache({ store, dir: folder.path, maxBytes: 1e9 });
  const models = new SessionPool({ cache, threads: THREADS, maxBytes: 1e9 });
  const read = blobReader(store, { memoryBytes: 1e7 });
  try {
    for (const shard of shards) await extractShard({ store, payload: shard, models, read, batchSize: 4, emit });
  } finally {
    await models.close();
  }
  return shards.reduce((sum, { images }) => sum + images, 0);
}

/** Runs an attempt to its end, after the extraction when a head is trained. */
export async function train(...args: Parameters<typeof attempt>) {
  const [store, job] = args;
  await extractFeatures(store, job);
  return runTraining(attempt(...args).options);
}

/** For `assert.rejects`: a problem of that code. */
export const coded = (code: string) => (error: unknown) => (error as CardinalError).code === code;

/** Calls `act` at the n-th step (from 1). */
export function atStep(n: number, act: (run: Run) => void): (event: WorkEvent, run: Run) => void {
  let steps = 0;
  return (event, run) => {
    if (event.type === "stage" && event.stage === "train_step" && ++steps === n) act(run);
  };
}

/** Everything that an iteration gives. */
export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
