/** `POST /v1/train`: the request with the recipe's defaults, and what a finished job tells. */
import { z } from "zod";
import { augmentRecipeSchema, augmentRequestSchema, effectiveAugment } from "./augment.ts";
import { featureCountsSchema } from "./features.ts";
import { transformSchema } from "./images.ts";
import { aliasSchema, datasetReferenceSchema, modelReferenceSchema } from "./names.ts";
import { optimizerSchema, usedOptimizerSchema } from "./optimizer.ts";
import { MAX_SWEEP_EPOCHS, sweepHeadSchema, sweepSchema, sweepSize } from "./sweep.ts";

/**
 * What a request can be checked against without knowing a model: the side in pixels of the square that a network is made
 * for, the smallest that it takes, the number of its stages (layer1, layer2, ...), and how often it halves the side, rounding up, before
 * the last of them. packages/resnext defines the networks; a test of packages/training compares.
 */
export const architectures = {
  resnext50_32x4d: { imageSize: 224, minImageSize: 32, stages: 4, halvings: 5 },
  resnext101_32x8d: { imageSize: 224, minImageSize: 32, stages: 4, halvings: 5 },
  resnext101_64x4d: { imageSize: 224, minImageSize: 32, stages: 4, halvings: 5 },
  resnext29_8x64d: { imageSize: 32, minImageSize: 4, stages: 3, halvings: 2 },
  resnext14_8x4d: { imageSize: 28, minImageSize: 4, stages: 3, halvings: 2 },
  resnet18: { imageSize: 224, minImageSize: 32, stages: 4, halvings: 5 },
  resnet34: { imageSize: 224, minImageSize: 32, stages: 4, halvings: 5 },
  resnet50: { imageSize: 224, minImageSize: 32, stages: 4, halvings: 5 },
  resnet101: { imageSize: 224, minImageSize: 32, stages: 4, halvings: 5 },
  resnet152: { imageSize: 224, minImageSize: 32, stages: 4, halvings: 5 },
} as const;

export const architectureSchema = z.enum(
  Object.keys(architectures) as [keyof typeof architectures, ...(keyof typeof architectures)[]],
);
export type ArchitectureName = z.infer<typeof architectureSchema>;

/** BullMQ: 1 runs first; unset would run before all. */
export const prioritySchema = z.int().min(1).max(1000).default(100);

/** What `architecture` is when a request names neither it nor a base. */
export const DEFAULT_ARCHITECTURE: ArchitectureName = "resnext50_32x4d";

const scheduleNameSchema = z.enum(["constant", "step", "cosine"]);

export const scheduleSchema = z
  .strictObject({
    /**
     * `cosine`: from the learning rate to 0 over all steps after the warm-up (Loshchilov and Hutter 2017, without
     * restarts). `step`: times `gamma` after every `stepEpochs` epochs.
     */
    name: scheduleNameSchema.default("constant"),
    /** Of `step` only, and needed there. */
    stepEpochs: z.int().min(1).max(1000).optional(),
    /** Of `step` only; 0.1. */
    gamma: z.number().positive().max(1).optional(),
    /** The rate rises linearly to its full value over so many epochs (also a part of one); it must be below `epochs`. */
    warmupEpochs: z.number().min(0).max(1000).default(0),
  })
  .superRefine(({ name, stepEpochs, gamma }, context) => {
    const issue = (path: string, message: string) => context.addIssue({ code: "custom", path: [path], message });
    if (name === "step" && stepEpochs === undefined) issue("stepEpochs", "is required by the schedule step");
    if (name !== "step" && stepEpochs !== undefined) issue("stepEpochs", "is for the schedule step only");
    if (name !== "step" && gamma !== undefined) issue("gamma", "is for the schedule step only");
  })
  .transform(({ name, stepEpochs, gamma = 0.1, warmupEpochs }) => {
    return { name, ...(name === "step" && { stepEpochs, gamma }), warmupEpochs };
  });

/**
 * What is trained: everything, or the stages from the named one to the end (`head` is the last, fully connected layer).
 * Stages before it are frozen: they run in evaluation mode and keep every bit, running statistics included.
 */
export const trainableSchema = z.enum(["head", "layer4", "layer3", "layer2", "layer1", "all"]);
export type TrainableName = z.infer<typeof trainableSchema>;

const classWeightSchema = z.number().positive().max(1e6);

/**
 * Weights of the loss by true class, as torch.nn.CrossEntropyLoss takes them: an array in class index order, an object
 * by class name (what it leaves out has 1), or `balanced`: images / (classes * images of the class).
 */
export const classWeightsSchema = z.union([
  z.literal("balanced"),
  z.array(classWeightSchema).min(1).max(100_000),
  z.record(z.string(), classWeightSchema),
]);
export type ClassWeights = z.infer<typeof classWeightsSchema>;

/**
 * Ends a training when for `patience` epochs the validation accuracy has not risen by more than `minDelta` (0.01 is one
 * percentage point) over that of the last epoch in which it did. The best epoch is kept, as always.
 */
export const earlyStoppingSchema = z.strictObject({
  patience: z.int().min(1).max(1000),
  minDelta: z.number().min(0).max(1).default(0),
});

const maxRuntimeSchema = z.number().positive().max(1e8);
const labelSmoothingSchema = z.number().min(0).lt(1).default(0);
const accumulateSchema = z.int().min(1).max(256).default(1);

/** The fields of a training request; defaults are the tutorial's (Adam 1e-4, batch 16, cross entropy). */
export const trainFieldsSchema = z.strictObject({
  dataset: datasetReferenceSchema,
  /** The base's; without a base resnext50_32x4d. */
  architecture: architectureSchema.optional(),
  /** Model id or alias whose weights the training starts from. */
  base: modelReferenceSchema.optional(),
  trainable: trainableSchema.default("all"),
  epochs: z.int().min(1).max(1000).default(3),
  batchSize: z.int().min(1).max(1024).default(16),
  /** Batches whose gradients make one step: the effective batch is `batchSize` times this. BatchNorm sees each batch. */
  accumulate: accumulateSchema,
  optimizer: optimizerSchema.prefault({}),
  schedule: scheduleSchema.prefault({}),
  /** Share of the target that is spread over all classes (Szegedy et al. 2016), as torch.nn.CrossEntropyLoss has it. */
  labelSmoothing: labelSmoothingSchema,
  classWeights: classWeightsSchema.optional(),
  earlyStopping: earlyStoppingSchema.optional(),
  /**
   * Seconds of training and validation, over all attempts, after which the epoch under way is cut short. It is judged
   * like every epoch, then the best is exported: so the job itself takes a validation and an export longer.
   */
  maxRuntimeSeconds: maxRuntimeSchema.optional(),
  augment: augmentRequestSchema.prefault({}),
  /** Trains many heads at once and keeps the best one; of `trainable` head only. */
  sweep: sweepSchema.optional(),
  /** Side of the square that the network sees, in pixels; the base's, or the architecture's own, by default. */
  imageSize: z.int().min(4).max(1024).optional(),
  seed: z
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .default(0),
  alias: aliasSchema.optional(),
  priority: prioritySchema,
});

export const trainRequestSchema = trainFieldsSchema.transform((fields, context) => {
  const { schedule, epochs, sweep, trainable } = fields;
  const issue = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
  const effective = effectiveAugment(trainable, fields.augment);
  if ("issue" in effective) issue(["augment", effective.issue.path], effective.issue.message);
  if (schedule.warmupEpochs >= epochs) {
    issue(["schedule", "warmupEpochs"], "must be below epochs, or the full learning rate is never reached");
  }
  if (sweep && trainable !== "head") issue(["sweep"], `is for the trainable head only, not ${trainable}`);
  if (sweep && sweepSize(sweep) * epochs > MAX_SWEEP_EPOCHS) {
    const message = `has ${sweepSize(sweep)} heads of ${epochs} epochs, more than ${MAX_SWEEP_EPOCHS} epochs together`;
    issue(["sweep"], message);
  }
  return "augment" in effective ? { ...fields, augment: effective.augment } : z.NEVER;
});
export type TrainRequest = z.infer<typeof trainRequestSchema>;

/**
 * Every value that the training used, nothing left to a default. Stands in the job's result and in the bundle. The
 * defaults here are what older versions did, whose recipes did not say it.
 */
export const recipeSchema = z.strictObject({
  architecture: architectureSchema,
  trainable: trainableSchema,
  epochs: z.int(),
  batchSize: z.int(),
  accumulate: accumulateSchema,
  optimizer: usedOptimizerSchema,
  schedule: z.strictObject({
    name: scheduleNameSchema,
    stepEpochs: z.int().optional(),
    gamma: z.number().optional(),
    warmupEpochs: z.number().default(0),
  }),
  labelSmoothing: labelSmoothingSchema,
  /** In class index order. Absent: all classes count the same. */
  classWeights: z.array(classWeightSchema).optional(),
  earlyStopping: earlyStoppingSchema.required().optional(),
  maxRuntimeSeconds: maxRuntimeSchema.optional(),
  augment: augmentRecipeSchema,
  imageSize: z.int(),
  transform: transformSchema,
  seed: z.int(),
});
export type Recipe = z.infer<typeof recipeSchema>;

/** Where the last layer's first weights are from: the base, or drawn from the seed because the classes differ. */
export const headOriginSchema = z.enum(["new", "from base"]);
export type HeadOrigin = z.infer<typeof headOriginSchema>;

/** Why no further epoch was trained. */
export const trainingEndSchema = z.enum(["epochs", "early-stopping", "max-runtime"]);
export type TrainingEnd = z.infer<typeof trainingEndSchema>;

export const epochSchema = z.strictObject({
  epoch: z.int(),
  trainLoss: z.number(),
  trainAccuracy: z.number(),
  valLoss: z.number(),
  valAccuracy: z.number(),
  learningRate: z.number(),
  /** Training and validation. */
  seconds: z.number(),
  /** Of training alone. */
  imagesPerSecond: z.number(),
  /** Of `seconds` those of training, and the images of it; absent in epochs of versions that did not note them. */
  trainSeconds: z.number().optional(),
  trainImages: z.int().optional(),
});
export type Epoch = z.infer<typeof epochSchema>;

export const trainResultSchema = z.strictObject({
  model: z.string(),
  alias: z.string().optional(),
  dataset: z.strictObject({ name: z.string(), version: z.string() }),
  classes: z.array(z.string()),
  recipe: recipeSchema,
  /** Id of the model that the training started from. */
  base: z.string().optional(),
  /** With a base only. */
  head: headOriginSchema.optional(),
  /** After a sweep these and the figures below are the winner's. */
  epochs: z.array(epochSchema),
  /** The heads of a sweep, the best first, those that failed last. Their curves are in the model's report. */
  sweep: z.array(sweepHeadSchema).optional(),
  /** Absent in what versions without it have published. */
  endedBy: trainingEndSchema.optional(),
  bestEpoch: z.int(),
  valAccuracy: z.number(),
  /** Seconds of compute over all attempts that the checkpoints remember. */
  trainSeconds: z.number(),
  /** Largest difference between the exported model's logits and the training side's, over the largest logit. */
  exportError: z.number(),
  /** Of head training. */
  features: featureCountsSchema.optional(),
  resumedFromStep: z.int().optional(),
});
export type TrainResult = z.infer<typeof trainResultSchema>;
