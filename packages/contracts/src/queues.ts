/**
 * Queue names and what travels through Redis. Every payload carries `v`; it is parsed when it is put in and again when
 * it is taken out, so a worker of another version sees at once that a payload is not its own.
 */
import { z } from "zod";
import { ingestRequestSchema } from "./datasets.ts";
import { featureViewSchema } from "./features.ts";
import { transformSchema } from "./images.ts";
import { importRequestSchema } from "./imports.ts";
import { jobIdSchema, keyPrefixSchema, nameSchema, sha256Schema } from "./names.ts";
import { outputSchema, topKSchema } from "./prediction.ts";
import { architectureSchema, trainFieldsSchema } from "./training.ts";

/**
 * Raise when a payload changes in a way that an older worker would misread. Every version up to it is understood.
 * 2: shards of features, views of head training.
 */
export const PAYLOAD_VERSION = 2;

/**
 * `train`, `ingest`, `import` and `predict` hold jobs; `shard` the pieces of a predict job, and of a training job's
 * feature extraction; `image` single images, which so never wait behind shards.
 */
export const queueNameSchema = z.enum(["train", "ingest", "import", "predict", "shard", "image"]);
export type QueueName = z.infer<typeof queueNameSchema>;
export const queueNames = queueNameSchema.options;

const v = z.int().min(1).max(PAYLOAD_VERSION);
/** Name of the key that submitted the job; what the job makes remembers it. */
const createdBy = nameSchema.optional();
const pinnedDataset = z.strictObject({ name: nameSchema, version: sha256Schema });

/** The API pins names to versions and ids when it accepts a job, so a job never changes under its owner's hands. */
export const trainPayloadSchema = z.strictObject({
  v,
  job: jobIdSchema,
  createdBy,
  /** `base` is a model's id here, never an alias. */
  request: trainFieldsSchema.extend({ dataset: pinnedDataset, architecture: architectureSchema }),
});
export type TrainPayload = z.infer<typeof trainPayloadSchema>;

export const ingestPayloadSchema = z.strictObject({
  v,
  job: jobIdSchema,
  createdBy,
  request: ingestRequestSchema,
  /** Store key of the uploaded archive; the ingest's end removes it. */
  archive: z.string().min(1),
});
export type IngestPayload = z.infer<typeof ingestPayloadSchema>;

export const importPayloadSchema = z.strictObject({
  v,
  job: jobIdSchema,
  createdBy,
  request: importRequestSchema.omit({ classes: true }),
  /** Store key of the weights: an upload, which the job's end removes, or a key of the import area. */
  file: z.string().min(1).optional(),
  /** Or their address. */
  url: z.url().optional(),
  /** Store key of the class names, a JSON array; absent: the numbers. */
  classes: z.string().optional(),
});
export type ImportPayload = z.infer<typeof importPayloadSchema>;

export const predictPayloadSchema = z.strictObject({
  v,
  job: jobIdSchema,
  /** Model id (never an alias). */
  model: nameSchema,
  /** What to read: one of the three. */
  dataset: pinnedDataset.extend({ split: z.enum(["train", "val", "all"]) }).optional(),
  /** Store key of the list of image digests, a JSON array. */
  imageList: z.string().optional(),
  /** Beginning of store keys, below the area that operators allow. */
  prefix: keyPrefixSchema.optional(),
  topK: topKSchema,
  /** Absent: `classes`. */
  output: outputSchema.optional(),
  maxFailureRate: z.number(),
  priority: z.int(),
});
export type PredictPayload = z.infer<typeof predictPayloadSchema>;

export const shardPayloadSchema = z.strictObject({
  v,
  job: jobIdSchema,
  /** Position in the job's plan, from 0. */
  shard: z.int().min(0),
  /** Store key of the shard's inputs, one JSON line each. */
  inputs: z.string().min(1),
  images: z.int().positive(),
  model: nameSchema,
  topK: topKSchema,
  /** Absent: `classes`. */
  output: outputSchema.optional(),
  /** There is a part already: only its error rows are done again. */
  redo: z.literal(true).optional(),
});
export type ShardPayload = z.infer<typeof shardPayloadSchema>;

/** A piece of a training job's feature extraction; the views of its images come into the feature cache. */
export const featureShardPayloadSchema = z.strictObject({
  v,
  task: z.literal("features"),
  job: jobIdSchema,
  /** Position in the job's plan, from 0. */
  shard: z.int().min(0),
  /** Store key of the shard's inputs, one JSON line each. */
  inputs: z.string().min(1),
  images: z.int().positive(),
  /** The .onnx file that computes the features. */
  network: z.strictObject({ key: z.string().min(1), sha256: sha256Schema }),
  /** Digest of its backbone. */
  backbone: sha256Schema,
  transform: transformSchema,
  views: z.array(featureViewSchema).min(1),
});
export type FeatureShardPayload = z.infer<typeof featureShardPayloadSchema>;

/** What the queue `shard` holds. */
export const anyShardPayloadSchema = z.union([shardPayloadSchema, featureShardPayloadSchema]);
export type AnyShardPayload = z.infer<typeof anyShardPayloadSchema>;

/** An image by its digest. */
export const shardInputSchema = z.strictObject({
  image: z.string(),
  sha256: sha256Schema,
  label: z.string().optional(),
});
export type ShardInput = z.infer<typeof shardInputSchema>;

/** An object of a prefix: its name is its whole key, its digest is known once it is read. */
export const keyInputSchema = z.strictObject({ image: z.string(), key: z.string().min(1), bytes: z.int() });

/** One line of the inputs of a predict job's shard. */
export const predictInputSchema = z.union([shardInputSchema, keyInputSchema]);
export type PredictInput = z.infer<typeof predictInputSchema>;

export const imagePayloadSchema = z.strictObject({
  v,
  id: z.string().min(1),
  /** Store key of the image's bytes; the API removes it when it has answered. */
  image: z.string().min(1),
  model: nameSchema,
  topK: topKSchema,
  /** Wait for a model that has to be loaded first; otherwise that is answered with `model_warming`. */
  wait: z.boolean().optional(),
  /** Redis channel that the answer is published on. */
  replyTo: z.string().min(1),
  /** Milliseconds since the epoch after which nobody waits for the answer any more. */
  deadline: z.int(),
});
export type ImagePayload = z.infer<typeof imagePayloadSchema>;

export const payloadSchemas = {
  train: trainPayloadSchema,
  ingest: ingestPayloadSchema,
  import: importPayloadSchema,
  predict: predictPayloadSchema,
  shard: anyShardPayloadSchema,
  image: imagePayloadSchema,
} as const;

export type Payloads = { [Q in QueueName]: z.infer<(typeof payloadSchemas)[Q]> };
