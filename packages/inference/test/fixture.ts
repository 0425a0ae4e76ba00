/** A real directory store with a small real network published in it, and real digits. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { claimCheckpoint, modelId, writeBundleFiles } from "@cardinal/checkpoint";
import {
  type ModelManifest,
  type Row,
  rowSchema,
  type ShardInput,
  type ShardPayload,
  type WorkEvent,
} from "@cardinal/contracts";
import { blobReader } from "@cardinal/dataset";
import { architecture, architectureNames, initParameters } from "@cardinal/resnext";
import { exportOnnx } from "@cardinal/resnext/onnx";
import { layout, type ObjectStore, openStore } from "@cardinal/storage";
import { digitImages, tempDir } from "@cardinal/testing";
import { ModelCache, type PredictShardOptions, predictShard, SessionPool } from "../src/index.ts";
import { type PartRow, readPart } from "../src/part.ts";

export const JOB = "predict-01jd0000000000000000000000";
export const digits = Array.from({ length: 10 }, (_, digit) => `digit ${digit}`);
/** The smallest network that there is. */
export const smallNetwork = architectureNames
  .map(architecture)
  .reduce((smallest, arch) => (arch.planes.at(-1)! < smallest.planes.at(-1)! ? arch : smallest));
export const onnx = exportOnnx(smallNetwork, initParameters(smallNetwork, digits.length, 1), { imageSize: 28 });

const transform: ModelManifest["transform"] = {
  resize: 28,
  crop: 28,
  mean: [0.5, 0.5, 0.5],
  std: [0.25, 0.25, 0.25],
  exif: "ignore",
};

/** Publishes a model as a training job does; gives its id. `number` below 10 makes another job, so another model. */
export async function publishModel(
  store: ObjectStore,
  options: { number?: number; bytes?: Uint8Array; classes?: string[]; crop?: number } = {},
): Promise<string> {
  const { number = 0, bytes = onnx, classes = digits, crop = 28 } = options;
  const job = `train-01jd000000000000000000000${number}`;
  const id = modelId(job, 1);
  const report = { epochs: [], confusion: [], classes: [] };
  const files = await writeBundleFiles(store, id, {
    onnx: bytes,
    safetensors: Buffer.from("weights"),
    classes,
    report,
  });
  const used = { ...transform, crop };
  const network = "resnext50_32x4d"; // a name of the contract; nothing here asks for it
  const pointer = await claimCheckpoint(store, job, 1);
  await pointer.announce({
    format: 1,
    id,
    createdAt: new Date().toISOString(),
    architecture: network,
    classes,
    transform: used,
    metrics: { valAccuracy: 0.1, valLoss: 2.3, bestEpoch: 1 },
    lineage: {
      job,
      dataset: { name: "digits", version: "0".repeat(64) },
      recipe: {
        architecture: network,
        trainable: "all",
        epochs: 1,
        batchSize: 16,
        accumulate: 1,
        optimizer: { name: "adam", learningRate: 1e-4, weightDecay: 0, decayNormAndBias: true },
        schedule: { name: "constant", warmupEpochs: 0 },
        labelSmoothing: 0,
        augment: { crop: "center", flip: 0 },
        imageSize: 28,
        transform: used,
        seed: 1,
      },
      software: "test",
    },
    files,
  });
  return id;
}

export interface Bench extends AsyncDisposable {
  store: ObjectStore;
  /** Folder of the model cache. */
  cacheDir: string;
  cache: ModelCache;
  models: SessionPool;
  events: WorkEvent[];
  /** Stores an image and gives its digest. */
  putImage(bytes: Uint8Array): Promise<string>;
  /** Stores that many digits; inputs as a plan makes them. */
  putDigits(count: number): Promise<ShardInput[]>;
  /** Stores a shard's inputs, predicts them and gives the rows of its part, checked against the contract. */
  predict(
    inputs: ShardInput[],
    options: Partial<PredictShardOptions & ShardPayload> & { model: string },
  ): Promise<Row[]>;
  payload(inputs: ShardInput[], options: Partial<ShardPayload> & { model: string }): Promise<ShardPayload>;
}

/** The first 100 digits, made once. */
async function images(): Promise<{ name: string; data: Uint8Array }[]> {
  if (made.length > 0) return made;
  for await (const { name, data } of digitImages({ train: 0, val: 100 })) made.push({ name, data: data as Buffer });
  return made;
}
const made: { name: string; data: Uint8Array }[] = [];

export async function testBench(): Promise<Bench> {
  const dir = await tempDir("inference");
  const store = await openStore({ kind: "directory", path: join(dir.path, "store") });
  const cacheDir = join(dir.path, "models");
  const cache = new ModelCache({ store, dir: cacheDir, maxBytes: 1e9 });
  const models = new SessionPool({ cache, threads: 1, maxBytes: 2 * onnx.length });
  const events: WorkEvent[] = [];
  const bench: Bench = {
    store,
    cacheDir,
    cache,
    models,
    events,
    async putImage(bytes) {
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      await store.put(layout.blob(sha256), bytes);
      return sha256;
    },
    async putDigits(count) {
      const inputs: ShardInput[] = [];
      for (const { name, data } of (await images()).slice(0, count)) {
        const label = `digit ${name.split("/")[1]}`;
        inputs.push({ image: name, sha256: await bench.putImage(data), label });
      }
      return inputs;
    },
    async payload(inputs, { model, shard = 0, topK = 3, output, redo }) {
      const key = layout.shardInputs(JOB, "run-1", shard);
      await store.put(key, Buffer.from(inputs.map((input) => `${JSON.stringify(input)}\n`).join("")));
      return { v: 1, job: JOB, shard, inputs: key, images: inputs.length, model, topK, output, ...(redo && { redo }) };
    },
    async predict(inputs, options) {
      const payload = await bench.payload(inputs, options);
      const read = blobReader(store, { memoryBytes: 1e7 });
      const emit = (event: WorkEvent) => void events.push(event);
      await predictShard({ store, models, read, batchSize: 8, emit, ...options, payload });
      return (await partRows(store, payload.shard)).map((row) => rowSchema.parse(row));
    },
    async [Symbol.asyncDispose]() {
      await models.close();
      await store.close();
      await dir[Symbol.asyncDispose]();
    },
  };
  return bench;
}

/** The rows of a shard's part. */
export async function partRows(store: ObjectStore, shard = 0): Promise<PartRow[]> {
  return (await readPart(store, layout.part(JOB, shard)))!.rows;
}

/** Rows of an object of lines, checked against the contract. */
export async function readRows(store: ObjectStore, key: string): Promise<Row[]> {
  const lines = (await store.read(key)).toString().split("\n");
  return lines.filter((line) => line !== "").map((line) => rowSchema.parse(JSON.parse(line)));
}
