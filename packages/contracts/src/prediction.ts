/** `POST /v1/predict` and `POST /v1/predict/image`. */
import { z } from "zod";
import { splitSchema } from "./datasets.ts";
import { problemRecordSchema } from "./jobs.ts";
import { datasetReferenceSchema, keyPrefixSchema, modelReferenceSchema, sha256Schema } from "./names.ts";
import { predictionSchema } from "./rows.ts";
import { prioritySchema } from "./training.ts";

export const topKSchema = z.union([z.int().min(1).max(100_000), z.literal("all")]).default(5);

/** `classes`: the most probable classes. `features`: what the network's last layer is given (`include_top` false). */
export const outputSchema = z.enum(["classes", "features"]);
export type Output = z.infer<typeof outputSchema>;

export const predictRequestSchema = z
  .strictObject({
    model: modelReferenceSchema,
    dataset: datasetReferenceSchema.optional(),
    /** `val` when the data set has one, else `all`. */
    split: splitSchema.optional(),
    /** Digests of images that are in the store already. */
    images: z.array(sha256Schema).min(1).max(10_000).optional(),
    /** Every object of the store whose key begins so, below the operator's PREDICT_PREFIX_AREA; in order of the keys. */
    prefix: keyPrefixSchema.optional(),
    topK: topKSchema,
    output: outputSchema.default("classes"),
    /** The job fails when more than this share of its images has no answer; what it has is kept. */
    maxFailureRate: z.number().min(0).max(1).default(1),
    priority: prioritySchema,
  })
  .refine(
    ({ dataset, images, prefix }) => [dataset, images, prefix].filter((from) => from !== undefined).length === 1,
    {
      message: "give one of dataset, images and prefix",
      path: ["dataset"],
    },
  )
  .refine((request) => request.split === undefined || request.dataset !== undefined, {
    message: "split needs dataset",
    path: ["split"],
  });
export type PredictRequest = z.infer<typeof predictRequestSchema>;

export const CONFIDENCE_BINS = 10;

export const predictSummarySchema = z.strictObject({
  model: z.string(),
  images: z.int(),
  succeeded: z.int(),
  failed: z.int(),
  /** Present when the inputs have labels: correct answers over all labelled inputs that have an answer. */
  accuracy: z.number().optional(),
  /** The same for the five most probable classes; present when the job asked for five or more, or for all. */
  accuracyTop5: z.number().optional(),
  /** Answers by the probability of their class, in ten equal bins from 0 to 1. */
  confidence: z.array(z.int()).length(CONFIDENCE_BINS).optional(),
  /** Of `output: "features"`: values of an image, and of the matrix' rows as many as `succeeded`. */
  featureWidth: z.int().optional(),
  /** Seconds of work by stage, over all shards and threads: more than `seconds` when several worked at once. */
  stageSeconds: z.record(z.string(), z.number()).optional(),
  classCounts: z.array(z.strictObject({ class: z.string(), images: z.int() })),
  seconds: z.number(),
  imagesPerSecond: z.number(),
  shards: z.int(),
});
export type PredictSummary = z.infer<typeof predictSummarySchema>;

export const imageAnswerSchema = z.strictObject({ model: z.string(), top: z.array(predictionSchema) });
export type ImageAnswer = z.infer<typeof imageAnswerSchema>;

/** What a worker publishes to the API process that asked. */
export const imageReplySchema = z.union([
  z.strictObject({ id: z.string(), answer: imageAnswerSchema }),
  z.strictObject({ id: z.string(), error: problemRecordSchema }),
]);
