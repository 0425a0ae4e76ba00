/**
 * The plan of a batch prediction: which inputs make which shard.
 *
 * A job's folder gets one object of inputs for each shard and then, last, `plan.json`. When `plan.json` is there, the
 * cut is fixed: parts that were computed for it stay right whatever limits a later version of the worker has. Inputs
 * that were removed meanwhile are written again by the same cut. Before that, planning again begins anew.
 */
import { readModel } from "@cardinal/checkpoint";
import { CardinalError, type PredictPayload, problem, type ShardInput, sha256Schema } from "@cardinal/contracts";
import { readManifest } from "@cardinal/dataset/catalog";
import { layout, type ObjectStore } from "@cardinal/storage";
import { z } from "zod";
import { formatLines } from "./json-lines.ts";

/** Enough images that a shard's own cost (two objects, one queue job) is small, few enough to redo without regret. */
const DEFAULT_MAX_IMAGES = 256;
const DEFAULT_MAX_BYTES = 64 * 2 ** 20;
/** A part is held in memory; at about 60 bytes a prediction this bounds it to about 30 MB. */
const MAX_PREDICTIONS = 500_000;
/** Shard objects that are written at the same time. */
const CONCURRENT_PUTS = 8;

const planSchema = z.strictObject({
  format: z.literal(1),
  images: z.int().positive(),
  /** Images of each shard, by shard number. */
  shards: z.array(z.int().positive()).min(1),
});
/** `predictions/<job>/plan.json`. */
export type PredictionPlan = z.infer<typeof planSchema>;

export interface PlannedShard {
  shard: number;
  /** Store key of its inputs, one JSON line each. */
  inputs: string;
  images: number;
}

export interface PlanOptions {
  store: ObjectStore;
  payload: PredictPayload;
  /** Images of a shard at most. */
  maxImages?: number;
  /** Bytes of the images of a shard at most; a single image may be larger. Sizes of image lists are not known. */
  maxBytes?: number;
  signal?: AbortSignal;
}

/** The job's plan; undefined when it is not complete yet. */
export async function readPlan(store: ObjectStore, job: string): Promise<PredictionPlan | undefined> {
  try {
    return planSchema.parse(JSON.parse((await store.read(layout.predictionPlan(job))).toString()));
  } catch (error) {
    if (error instanceof CardinalError && error.code === "object_not_found") return undefined;
    throw error;
  }
}

/**
 * Cuts a job's inputs into shards, in input order, and writes the plan. Memory: the shards that are being written.
 * Throws `model_not_found`, `dataset_not_found`, `split_not_found`, `invalid_request` (an image list that is none)
 * and the store's errors.
 */
export async function planShards(options: PlanOptions): Promise<{ shards: PlannedShard[]; images: number }> {
  const { store, payload } = options;
  const former = await readPlan(store, payload.job);
  const plan = former && (await hasInputs(store, payload.job, former)) ? former : await writePlan(options, former);
  const shards = plan.shards.map((images, shard) => ({
    shard,
    inputs: layout.shardInputs(payload.job, shard),
    images,
  }));
  return { shards, images: plan.images };
}

async function hasInputs(store: ObjectStore, job: string, plan: PredictionPlan): Promise<boolean> {
  const keys = new Set<string>();
  for await (const { key } of store.list(layout.allInputs(job))) keys.add(key);
  return plan.shards.every((_, shard) => keys.has(layout.shardInputs(job, shard)));
}

/**
 * The shards that have no part yet: what is left to do when a job is tried again. A part is whole or absent, and a
 * job's plan and model never change, so a part that is there is right.
 */
export async function unfinishedShards(
  store: ObjectStore,
  job: string,
  shards: readonly PlannedShard[],
): Promise<PlannedShard[]> {
  const parts = new Set<string>();
  for await (const { key } of store.list(layout.allParts(job))) parts.add(key);
  return shards.filter(({ shard }) => !parts.has(layout.part(job, shard)));
}

/** Writes inputs and plan; with a former plan, whose inputs were removed, the very same shards again. */
async function writePlan(options: PlanOptions, former?: PredictionPlan): Promise<PredictionPlan> {
  const { store, payload, signal } = options;
  const limits = former ? { images: (shard: number) => former.shards[shard]! } : await limitsOf(options);
  const sizes: number[] = [];
  const puts = new Set<Promise<unknown>>();
  try {
    for await (const inputs of shardsOf(inputsOf(store, payload), limits)) {
      signal?.throwIfAborted();
      const put = store.put(layout.shardInputs(payload.job, sizes.length), formatLines(inputs), { signal });
      puts.add(put);
      put.then(
        () => puts.delete(put),
        () => {}, // it stays in the set, so the next race or the end throws it
      );
      sizes.push(inputs.length);
      if (puts.size >= CONCURRENT_PUTS) await Promise.race(puts);
    }
    await Promise.all(puts);
  } finally {
    await Promise.allSettled(puts);
  }
  const plan: PredictionPlan = { format: 1, images: sizes.reduce((sum, size) => sum + size, 0), shards: sizes };
  if (plan.images === 0) throw problem("split_not_found", `job ${payload.job} has no images to predict`);
  await store.put(layout.predictionPlan(payload.job), Buffer.from(JSON.stringify(plan)), { signal });
  return plan;
}

interface ShardLimits {
  images(shard: number): number;
  bytes?: number;
}

async function limitsOf({ store, payload, maxImages, maxBytes }: PlanOptions): Promise<ShardLimits> {
  const { manifest } = await readModel(store, payload.model);
  const classes = manifest.classes.length;
  const predictions = payload.topK === "all" ? classes : Math.min(payload.topK, classes);
  const images = Math.min(maxImages ?? DEFAULT_MAX_IMAGES, Math.max(1, Math.floor(MAX_PREDICTIONS / predictions)));
  return { images: () => images, bytes: maxBytes ?? DEFAULT_MAX_BYTES };
}

interface PlannedInput {
  input: ShardInput;
  bytes: number;
}

async function* inputsOf(store: ObjectStore, payload: PredictPayload): AsyncGenerator<PlannedInput> {
  if (payload.dataset) {
    const { name, version, split } = payload.dataset;
    for await (const row of readManifest(store, name, version, split)) {
      yield { input: { image: row.path, sha256: row.sha256, label: row.class }, bytes: row.bytes };
    }
  } else if (payload.imageList !== undefined) {
    // At most 10,000 digests (the request's limit): under 1 MB.
    const list = JSON.parse((await store.read(payload.imageList)).toString());
    const digests = z.array(sha256Schema).safeParse(list);
    if (!digests.success) throw problem("invalid_request", `${payload.imageList} is not a JSON array of image digests`);
    for (const sha256 of digests.data) yield { input: { image: sha256, sha256 }, bytes: 0 };
  } else {
    throw problem("invalid_request", `job ${payload.job} names neither a data set nor images`);
  }
}

/** Groups inputs by count and bytes; gives one shard after the other. */
async function* shardsOf(inputs: AsyncIterable<PlannedInput>, limits: ShardLimits): AsyncGenerator<ShardInput[]> {
  const { bytes: maxBytes = Number.POSITIVE_INFINITY } = limits;
  let shard: ShardInput[] = [];
  let number = 0;
  let total = 0;
  for await (const { input, bytes } of inputs) {
    if (shard.length > 0 && (shard.length >= limits.images(number) || total + bytes > maxBytes)) {
      yield shard;
      shard = [];
      number++;
      total = 0;
    }
    shard.push(input);
    total += bytes;
  }
  if (shard.length > 0) yield shard;
}
