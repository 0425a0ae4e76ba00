/** A real directory store in a folder of its own, and bundles as small as can be. */
import type { ModelManifest, ModelReport } from "@cardinal/contracts";
import { type ObjectStore, openStore } from "@cardinal/storage";
import { tempDir } from "@cardinal/testing";
import { modelId, writeBundleFiles } from "../src/index.ts";

export const JOB = "train-01jd0000000000000000000000";
export const classes = ["daisy", "rose"];
export const report: ModelReport = { epochs: [], confusion: [], classes: [] };

export interface TestStore extends AsyncDisposable {
  store: ObjectStore;
}

export async function testStore(): Promise<TestStore> {
  const dir = await tempDir("checkpoint");
  const store = await openStore({ kind: "directory", path: dir.path });
  return {
    store,
    async [Symbol.asyncDispose]() {
      await store.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}

/** Writes the files of an attempt's bundle and gives its manifest. */
export async function writeBundle(store: ObjectStore, job: string, attempt: number): Promise<ModelManifest> {
  const id = modelId(job, attempt);
  const files = await writeBundleFiles(store, id, {
    onnx: Buffer.from(`onnx of ${attempt}`),
    safetensors: Buffer.from(`weights of ${attempt}`),
    classes,
    report,
  });
  return manifestOf(id, job, files);
}

function manifestOf(id: string, job: string, files: ModelManifest["files"]): ModelManifest {
  const architecture = "resnext50_32x4d";
  const transform: ModelManifest["transform"] = {
    resize: 28,
    crop: 28,
    mean: [0, 0, 0],
    std: [1, 1, 1],
    exif: "ignore",
  };
  return {
    format: 1,
    id,
    createdAt: new Date(0).toISOString(),
    architecture,
    classes,
    transform,
    metrics: { valAccuracy: 1, valLoss: 0, bestEpoch: 1 },
    lineage: {
      job,
      dataset: { name: "flowers", version: "0".repeat(64) },
      recipe: {
        architecture,
        trainable: "all",
        epochs: 1,
        batchSize: 1,
        accumulate: 1,
        optimizer: { name: "adam", learningRate: 1, weightDecay: 0, decayNormAndBias: true },
        schedule: { name: "constant", warmupEpochs: 0 },
        labelSmoothing: 0,
        augment: { crop: "center", flip: 0 },
        imageSize: 28,
        transform,
        seed: 0,
      },
      software: "test",
    },
    files,
  };
}

/** Publishes a model of a job of its own. */
export async function publishModel(store: ObjectStore, id: string, job: string, attempt: number): Promise<void> {
  const { files } = await writeBundle(store, job, attempt);
  await store.put(`models/${id}/manifest.json`, Buffer.from(JSON.stringify(manifestOf(id, job, files))));
}

export async function keysBelow(store: ObjectStore, prefix: string): Promise<string[]> {
  return (await collect(store.list(prefix))).map(({ key }) => key);
}

export async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of source) all.push(one);
  return all;
}

/** The death of the process. */
export class Died extends Error {}

/**
 * The store as a process sees it that dies at its `step`-th change of the store (from 0): before the change, or after
 * it and before its answer. Everything that it tries after that fails too.
 */
export function dyingStore(store: ObjectStore, step: number, when: "before" | "after") {
  const changes = ["put", "swapPointer", "delete", "deletePrefix"];
  let count = 0;
  const dead = () => count > step;
  const proxy = new Proxy(store, {
    get(target, name) {
      const member = Reflect.get(target, name);
      if (typeof member !== "function") return member;
      return (...args: unknown[]) => {
        if (dead()) throw new Died();
        const dies = changes.includes(String(name)) && count++ === step;
        if (dies && when === "before") throw new Died();
        const result = member.apply(target, args);
        if (!dies) return result;
        return (result as Promise<unknown>).then(() => Promise.reject(new Died()));
      };
    },
  });
  return { store: proxy, died: dead };
}
