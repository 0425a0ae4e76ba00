/** `POST /v1/train`: the request with the recipe's defaults, and what a finished job tells. */
import { z } from "zod";
import { augmentSchema, transformSchema } from "./images.ts";
import { aliasSchema, datasetReferenceSchema, modelReferenceSchema } from "./names.ts";

/**
 * What a request can be checked against without knowing a model: the side in pixels of the square that a network is made
 * for, and the smallest that it takes. packages/resnext defines the networks; its test compares.
 */
export const architectures = {
  resnext50_32x4d: { imageSize: 224, minImageSize: 32 },
  resnext101_32x8d: { imageSize: 224, minImageSize: 32 },
  resnext101_64x4d: { imageSize: 224, minImageSize: 32 },
  resnext29_8x64d: { imageSize: 32, minImageSize: 4 },
  resnext14_8x4d: { imageSize: 28, minImageSize: 4 },
  resnet18: { imageSize: 224, minImageSize: 32 },
  resnet34: { imageSize: 224, minImageSize: 32 },
  resnet50: { imageSize: 224, minImageSize: 32 },
  resnet101: { imageSize: 224, minImageSize: 32 },
  resnet152: { imageSize: 224, minImageSize: 32 },
} as const;

export const architectureSchema = z.enum(
  Object.keys(architectures) as [keyof typeof architectures, ...(keyof typeof architectures)[]],
);
export type ArchitectureName = z.infer<typeof architectureSchema>;

/** BullMQ: 1 runs first; unset would run before all. */
export const prioritySchema = z.int().min(1).max(1000).default(100);

export const optimizerSchema = z.strictObject({
  name: z.enum(["adam"]).default("adam"),
  learningRate: z.number().positive().max(1e6).default(1e-4),
});

export const scheduleSchema = z.strictObject({
  /** `cosine`: from the learning rate to 0 over all steps (Loshchilov and Hutter 2017, without restarts). */
  name: z.enum(["constant", "cosine"]).default("constant"),
});

/** Defaults are the tutorial's: Adam 1e-4, batch 16, cross entropy, best validation accuracy kept. */
export const trainRequestSchema = z.strictObject({
  dataset: datasetReferenceSchema,
  architecture: architectureSchema.default("resnext50_32x4d"),
  base: modelReferenceSchema.optional(),
  trainable: z.enum(["head", "all"]).default("all"),
  epochs: z.int().min(1).max(1000).default(3),
  batchSize: z.int().min(1).max(1024).default(16),
  optimizer: optimizerSchema.prefault({}),
  schedule: scheduleSchema.prefault({}),
  augment: augmentSchema.prefault({}),
  /** Side of the square that the network sees, in pixels; the architecture's own by default. */
  imageSize: z.int().min(4).max(1024).optional(),
  seed: z
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .default(0),
  alias: aliasSchema.optional(),
  priority: prioritySchema,
});
export type TrainRequest = z.infer<typeof trainRequestSchema>;

/** Every value that the training used, nothing left to a default. Stands in the job's result and in the bundle. */
export const recipeSchema = z.strictObject({
  architecture: architectureSchema,
  trainable: z.enum(["all"]),
  epochs: z.int(),
  batchSize: z.int(),
  optimizer: optimizerSchema.required(),
  schedule: scheduleSchema.required(),
  augment: augmentSchema.required(),
  imageSize: z.int(),
  transform: transformSchema,
  seed: z.int(),
});
export type Recipe = z.infer<typeof recipeSchema>;

export const epochSchema = z.strictObject({
  epoch: z.int(),
  trainLoss: z.number(),
  trainAccuracy: z.number(),
  valLoss: z.number(),
  valAccuracy: z.number(),
  learningRate: z.number(),
  seconds: z.number(),
  imagesPerSecond: z.number(),
});
export type Epoch = z.infer<typeof epochSchema>;

export const trainResultSchema = z.strictObject({
  model: z.string(),
  alias: z.string().optional(),
  dataset: z.strictObject({ name: z.string(), version: z.string() }),
  classes: z.array(z.string()),
  recipe: recipeSchema,
  epochs: z.array(epochSchema),
  bestEpoch: z.int(),
  valAccuracy: z.number(),
  /** Seconds of compute over all attempts that the checkpoints remember. */
  trainSeconds: z.number(),
  /** Largest difference between the exported model's logits and the training side's, over the largest logit. */
  exportError: z.number(),
  resumedFromStep: z.int().optional(),
});
export type TrainResult = z.infer<typeof trainResultSchema>;
