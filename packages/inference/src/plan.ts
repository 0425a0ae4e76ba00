/**
 * The plan of a batch prediction: which inputs make which shard.
 *
 * A planner writes one object of inputs for each shard into a folder of its own (`cut`) and then `plan.json`, which
 * names that folder. States of a job: no plan -> plan, for good: `plan.json` is made only if there is none, so of
 * planners that work at once (a worker that came back late, a second one with other limits) one wins, the others take
 * its plan, and no shard is ever cut half by one and half by the other. Parts that were computed for a plan stay right.
 *
 * Memory: the shards that are being written, and a number for each shard.
 */
import { readModel } from "@cardinal/checkpoint";
import {
  assertPrefixAllowed,
  CardinalError,
  type PredictInput,
  type PredictPayload,
  predictInputSchema,
  problem,
  sha256Schema,
} from "@cardinal/contracts";
import { readManifest } from "@cardinal/dataset/catalog";
import { layout, type ObjectStore, orAbsent } from "@cardinal/storage";
import { z } from "zod";
import { formatLines, parseLines } from "./json-lines.ts";
import { readPartHeader } from "./part.ts";

/** Enough images that a shard's own cost (two objects, one queue job) is small, few enough to redo without regret. */
const DEFAULT_MAX_IMAGES = 256;
const DEFAULT_MAX_BYTES = 64 * 2 ** 20;
/** A part is held in memory; at about 60 bytes a prediction this bounds it to about 30 MB. */
const MAX_PREDICTIONS = 500_000;
/** Rows of features have 8 kB (2,048 float32): this bounds a part to the same size. */
const MAX_FEATURE_IMAGES = 4096;
/** Shard objects that are written, or headers of parts that are read, at the same time. */
const AT_ONCE = 8;

const planSchema = z.strictObject({
  format: z.literal(2),
  /** Whose inputs: the folder that they lie in. */
  cut: z.string().min(1),
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
  /** Names this planner among all that may plan the job: the run's fence. */
  cut: string;
  /** Folder that a prefix must lie in; absent: no prefix is allowed. */
  prefixArea?: string;
  /** Images of a shard at most. */
  maxImages?: number;
  /** Bytes of the images of a shard at most; a single image may be larger. Sizes of image lists are not known. */
  maxBytes?: number;
  signal?: AbortSignal;
}

/** The job's plan; undefined when it is not complete yet. */
export async function readPlan(store: ObjectStore, job: string): Promise<PredictionPlan | undefined> {
  const bytes = await orAbsent(store.read(layout.predictionPlan(job)));
  return bytes && planSchema.parse(JSON.parse(bytes.toString()));
}

/**
 * Cuts a job's inputs into shards, in input order, and writes the plan; gives the plan that there is, if there is one.
 * Throws `model_not_found`, `dataset_not_found`, `split_not_found`, `no_images`, `prefix_not_allowed`,
 * `invalid_request` (an image list that is none) and the store's errors.
 */
export async function planShards(options: PlanOptions): Promise<{ shards: PlannedShard[]; images: number }> {
  const { store, payload } = options;
  const plan = (await readPlan(store, payload.job)) ?? (await writePlan(options));
  const shards = plan.shards.map((images, shard) => ({
    shard,
    inputs: layout.shardInputs(payload.job, plan.cut, shard),
    images,
  }));
  return { shards, images: plan.images };
}

export interface UnfinishedShard extends PlannedShard {
  /** It has a part, whose error rows alone are to be done again. */
  redo?: true;
}

/**
 * What is left to do when a job is run again: shards without a part, and (`errors`: the owner wants another try) those
 * whose part has error rows. A part is whole or absent, and a job's plan and model never change, so a row that is
 * there is right.
 */
export async function unfinishedShards(
  store: ObjectStore,
  job: string,
  shards: readonly PlannedShard[],
  errors: boolean,
): Promise<UnfinishedShard[]> {
  const parts = new Set<string>();
  for await (const { key } of store.list(layout.allParts(job))) parts.add(key);
  const hasPart = ({ shard }: PlannedShard) => parts.has(layout.part(job, shard));
  const withErrors = new Set<number>();
  if (errors) {
    const done = shards.filter(hasPart);
    for (let first = 0; first < done.length; first += AT_ONCE) {
      const read = ({ shard }: PlannedShard) => readPartHeader(store, job, shard);
      const headers = await Promise.all(done.slice(first, first + AT_ONCE).map(read));
      headers.forEach((header, i) => {
        if (header && header.failed > 0) withErrors.add(done[first + i]!.shard);
      });
    }
  }
  return shards.flatMap((shard): UnfinishedShard[] => {
    if (!hasPart(shard)) return [shard];
    return withErrors.has(shard.shard) ? [{ ...shard, redo: true }] : [];
  });
}

/** A shard's inputs. Throws `internal_error` when they are not as many as planned, and the store's errors. */
export async function readInputs(
  store: ObjectStore,
  { inputs: key, images }: Pick<PlannedShard, "inputs" | "images">,
  signal?: AbortSignal,
): Promise<PredictInput[]> {
  const inputs = parseLines(await store.read(key, { signal })).map((line) => predictInputSchema.parse(line));
  if (inputs.length === images) return inputs;
  throw problem("internal_error", `${key} has ${inputs.length} inputs, the plan says ${images}`);
}

async function writePlan(options: PlanOptions): Promise<PredictionPlan> {
  const { store, payload, signal, cut } = options;
  const { job } = payload;
  const shards = await writeInputs(options);
  const images = shards.reduce((sum, size) => sum + size, 0);
  if (images === 0) throw problem("no_images", `job ${job} has no images to predict`);
  const plan: PredictionPlan = { format: 2, cut, images, shards };
  try {
    await store.put(layout.predictionPlan(job), Buffer.from(JSON.stringify(plan)), { ifAbsent: true, signal });
    return plan;
  } catch (error) {
    if (!(error instanceof CardinalError) || error.code !== "object_exists") throw error;
    const former = await readPlan(store, job);
    if (!former) throw error;
    // Another planner was first; or this one was, and did not hear of it.
    if (former.cut !== cut) await store.deletePrefix(layout.cutInputs(job, cut));
    return former;
  }
}

/** Writes the inputs of each shard; gives how many images each has. */
async function writeInputs(options: PlanOptions): Promise<number[]> {
  const { store, payload, signal, cut } = options;
  const limits = await limitsOf(options);
  const sizes: number[] = [];
  const puts = new Set<Promise<unknown>>();
  try {
    for await (const inputs of shardsOf(inputsOf(options), limits)) {
      signal?.throwIfAborted();
      const put = store.put(layout.shardInputs(payload.job, cut, sizes.length), formatLines(inputs), { signal });
      puts.add(put);
      put.then(
        () => puts.delete(put),
        () => {}, // it stays in the set, so the next race or the end throws it
      );
      sizes.push(inputs.length);
      if (puts.size >= AT_ONCE) await Promise.race(puts);
    }
    await Promise.all(puts);
  } finally {
    await Promise.allSettled(puts);
  }
  return sizes;
}

interface ShardLimits {
  images: number;
  bytes: number;
}

async function limitsOf({ store, payload, maxImages, maxBytes }: PlanOptions): Promise<ShardLimits> {
  const { manifest } = await readModel(store, payload.model);
  const classes = manifest.classes.length;
  const predictions = payload.topK === "all" ? classes : Math.min(payload.topK, classes);
  const fit =
    payload.output === "features" ? MAX_FEATURE_IMAGES : Math.max(1, Math.floor(MAX_PREDICTIONS / predictions));
  return { images: Math.min(maxImages ?? DEFAULT_MAX_IMAGES, fit), bytes: maxBytes ?? DEFAULT_MAX_BYTES };
}

interface SizedInput {
  input: PredictInput;
  bytes: number;
}

async function* inputsOf({ store, payload, prefixArea }: PlanOptions): AsyncGenerator<SizedInput> {
  const { dataset, imageList, prefix } = payload;
  if (dataset) {
    for await (const row of readManifest(store, dataset.name, dataset.version, dataset.split)) {
      yield { input: { image: row.path, sha256: row.sha256, label: row.class }, bytes: row.bytes };
    }
  } else if (imageList !== undefined) {
    // At most 10,000 digests (the request's limit): under 1 MB.
    const digests = z.array(sha256Schema).safeParse(JSON.parse((await store.read(imageList)).toString()));
    if (!digests.success) throw problem("invalid_request", `${imageList} is not a JSON array of image digests`);
    for (const sha256 of digests.data) yield { input: { image: sha256, sha256 }, bytes: 0 };
  } else if (prefix !== undefined) {
    assertPrefixAllowed(prefix, prefixArea);
    for await (const { key, bytes } of store.list(prefix)) yield { input: { image: key, key, bytes }, bytes };
  } else {
    throw problem("invalid_request", `job ${payload.job} names no data set, images or prefix`);
  }
}

/** Groups inputs by count and bytes; gives one shard after the other. */
async function* shardsOf(inputs: AsyncIterable<SizedInput>, limits: ShardLimits): AsyncGenerator<PredictInput[]> {
  let shard: PredictInput[] = [];
  let total = 0;
  for await (const { input, bytes } of inputs) {
    if (shard.length > 0 && (shard.length >= limits.images || total + bytes > limits.bytes)) {
      yield shard;
      shard = [];
      total = 0;
    }
    shard.push(input);
    total += bytes;
  }
  if (shard.length > 0) yield shard;
}
