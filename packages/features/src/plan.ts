/**
 * The plan of an extraction: which images have which of their views computed in which shard.
 *
 * States of a job's plan: none ──planExtraction──▶ open (its shards are at work) ──spendPlan──▶ spent ──▶ open …
 *
 * A job's folder gets one object of inputs for each shard and then, last, `plan.json`. While a plan is open, planning
 * again gives the same shards, whatever has come into the cache meanwhile: shards that were queued for it stay right,
 * and an image is always computed in the same batch, so with the same bits on the same machine. A plan is spent when
 * its shards have ended and features are missing all the same (removed, or damaged): the next one is made for those.
 */
import { type FeatureView, featureViewSchema, type ShardInput, type Transform } from "@cardinal/contracts";
import { layout, type ObjectStore, orAbsent } from "@cardinal/storage";
import { z } from "zod";
import { missingFeatures } from "./cache.ts";
import { viewDigest } from "./digests.ts";
import { inBatches } from "./in-batches.ts";

/** Shards for many workers to share evenly, but not so small that their own cost shows, nor too large to redo. */
const SHARDS = 32;
const SHARD_IMAGES = { least: 16, most: 256 };
const PUTS_AT_ONCE = 8;

const planSchema = z.strictObject({
  format: z.literal(1),
  shards: z.array(z.strictObject({ images: z.int().positive(), views: z.array(featureViewSchema).min(1) })),
  /** Images of the shards, each counted once. */
  images: z.int(),
  /** Images of the job's earlier plans. */
  earlier: z.int(),
  spent: z.boolean(),
});
/** `extractions/<job>/plan.json`. */
export type ExtractionPlan = z.infer<typeof planSchema>;

export interface ExtractionShard {
  shard: number;
  /** Store key of its inputs, one JSON line each. */
  inputs: string;
  images: number;
  views: FeatureView[];
}

/** A view, and the images that it is needed of; an image may come more than once. */
export interface FeatureNeed {
  view: FeatureView;
  images: readonly ShardInput[];
}

export interface ExtractionOptions {
  store: ObjectStore;
  job: string;
  backbone: string;
  transform: Transform;
  needs: readonly FeatureNeed[];
  signal?: AbortSignal;
}

/** The job's plan; undefined when none is complete. */
export async function readPlan(store: ObjectStore, job: string): Promise<ExtractionPlan | undefined> {
  const bytes = await orAbsent(store.read(layout.extractionPlan(job)));
  return bytes && planSchema.parse(JSON.parse(bytes.toString()));
}

/** The shards that compute what the cache lacks; none when it lacks nothing. */
export async function planExtraction(options: ExtractionOptions): Promise<{ shards: ExtractionShard[] }> {
  const { store, job } = options;
  const former = await readPlan(store, job);
  const plan = former && !former.spent ? former : await writePlan(options, former);
  const shards = plan?.shards.map((entry, shard) => ({ shard, inputs: layout.extractionInputs(job, shard), ...entry }));
  return { shards: shards ?? [] };
}

/** The open plan is over: another will be made. Does nothing without one. */
export async function spendPlan(store: ObjectStore, job: string): Promise<void> {
  const plan = await readPlan(store, job);
  if (plan && !plan.spent) await putPlan(store, job, { ...plan, spent: true });
}

/** Images that were planned for the job so far. */
export async function plannedImages(store: ObjectStore, job: string): Promise<number> {
  const plan = await readPlan(store, job);
  return plan ? plan.earlier + plan.images : 0;
}

async function writePlan(
  options: ExtractionOptions,
  former: ExtractionPlan | undefined,
): Promise<ExtractionPlan | undefined> {
  const { store, job, signal } = options;
  const missing = await groupMissing(options);
  const images = missing.reduce((sum, group) => sum + group.images.length, 0);
  if (images === 0) return undefined;
  const { least, most } = SHARD_IMAGES;
  const size = Math.min(most, Math.max(least, Math.ceil(images / SHARDS)));
  const shards = missing.flatMap(({ views, images }) =>
    Array.from({ length: Math.ceil(images.length / size) }, (_, index) => {
      return { views, images: images.slice(index * size, (index + 1) * size) };
    }),
  );
  const put = async ({ images, shard }: { images: ShardInput[]; shard: number }) => {
    signal?.throwIfAborted();
    const lines = images.map((input) => `${JSON.stringify(input)}\n`).join("");
    await store.put(layout.extractionInputs(job, shard), Buffer.from(lines), { signal });
  };
  const numbered = shards.map(({ images }, shard) => ({ images, shard }));
  for await (const _ of inBatches(numbered, PUTS_AT_ONCE, put));
  const plan: ExtractionPlan = {
    format: 1,
    shards: shards.map(({ views, images }) => ({ views, images: images.length })),
    images,
    earlier: former ? former.earlier + former.images : 0,
    spent: false,
  };
  await putPlan(store, job, plan);
  return plan;
}

async function putPlan(store: ObjectStore, job: string, plan: ExtractionPlan): Promise<void> {
  await store.put(layout.extractionPlan(job), Buffer.from(JSON.stringify(plan)));
}

/** Images that lack features, each once, together with those that lack the same views: an image is decoded once. */
async function groupMissing({ store, backbone, transform, needs, signal }: ExtractionOptions) {
  const lacking = new Map<string, { input: ShardInput; views: number[] }>();
  for (const [index, { view, images }] of needs.entries()) {
    const options = { store, place: { backbone, view: viewDigest(transform, view) }, signal };
    const inputs = new Map(images.map((input) => [input.sha256, input]));
    for (const sha256 of await missingFeatures(options, inputs.keys())) {
      const known = lacking.get(sha256);
      if (known) known.views.push(index);
      else lacking.set(sha256, { input: inputs.get(sha256)!, views: [index] });
    }
  }
  const groups = new Map<string, { views: FeatureView[]; images: ShardInput[] }>();
  for (const { input, views } of lacking.values()) {
    const name = views.join();
    const group = groups.get(name) ?? { views: views.map((index) => needs[index]!.view), images: [] };
    group.images.push(input);
    groups.set(name, group);
  }
  return [...groups.values()];
}
