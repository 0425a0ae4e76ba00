/** A model is a bundle: weights never travel without transform, class index, metrics and recipe. */
import { z } from "zod";
import { featureCountsSchema } from "./features.ts";
import { transformSchema } from "./images.ts";
import { weightsFormatSchema } from "./imports.ts";
import { nameSchema, sha256Schema } from "./names.ts";
import { evaluationSchema, splitDuplicatesSchema, trainingPhaseSchema } from "./report.ts";
import { sweepHeadSchema } from "./sweep.ts";
import { architectureSchema, epochSchema, headOriginSchema, recipeSchema, trainingEndSchema } from "./training.ts";

export const modelFileSchema = z.enum([
  "model.onnx",
  "weights.safetensors",
  "class_indices.json",
  "report.json",
  "report.html",
]);
export type ModelFile = z.infer<typeof modelFileSchema>;

/** Name of the key that asked for it. */
const createdBy = nameSchema.optional();

const trainedSchema = z.strictObject({
  job: z.string(),
  createdBy,
  dataset: z.strictObject({ name: nameSchema, version: sha256Schema }),
  /** Id of the model that the training started from. */
  base: nameSchema.optional(),
  recipe: recipeSchema,
  software: z.string(),
});

const importedSchema = z.strictObject({
  job: z.string(),
  createdBy,
  /** The file that the weights came in. */
  source: z.strictObject({ format: weightsFormatSchema, sha256: sha256Schema, bytes: z.int().positive() }),
  software: z.string(),
});

const fileSchema = z.strictObject({ sha256: sha256Schema, bytes: z.int().positive() });

/** `models/<id>/manifest.json`: written last; a model exists when this file does. */
export const modelManifestSchema = z.strictObject({
  format: z.literal(1),
  id: nameSchema,
  createdAt: z.iso.datetime(),
  architecture: architectureSchema,
  classes: z.array(z.string().min(1)).min(1),
  transform: transformSchema,
  /** Of models that were trained here. */
  metrics: z.strictObject({ valAccuracy: z.number(), valLoss: z.number(), bestEpoch: z.int() }).optional(),
  lineage: z.union([trainedSchema, importedSchema]),
  files: z.strictObject({
    "model.onnx": fileSchema,
    "weights.safetensors": fileSchema,
    "class_indices.json": fileSchema,
    "report.json": fileSchema,
    /** Of models that were trained here; absent in those of versions that did not write it. */
    "report.html": fileSchema.optional(),
  } satisfies Record<ModelFile, z.ZodType>),
});
export type ModelManifest = z.infer<typeof modelManifestSchema>;

/** `models/<id>/report.json`. */
export const modelReportSchema = z.strictObject({
  epochs: z.array(epochSchema),
  /** Rows are true classes, columns predicted ones, in class index order. Empty where there are more than 1,000 classes. */
  confusion: z.array(z.array(z.int())),
  /** `images` is the support: how many images have that class. */
  classes: z.array(
    z.strictObject({ class: z.string(), images: z.int(), precision: z.number(), recall: z.number(), f1: z.number() }),
  ),
  /** Of weights that came from elsewhere; there are no figures then. */
  imported: z.strictObject({ parameters: z.int(), notes: z.array(z.string()) }).optional(),
  /** These three are absent in models that were imported, and in those of versions that did not have them. */
  evaluation: evaluationSchema.optional(),
  duplicates: splitDuplicatesSchema.optional(),
  phases: z.array(trainingPhaseSchema).optional(),
  /** The heads of a sweep with their curves, as the job's result ranks them; the winner's are `epochs`, too. */
  sweep: z.array(sweepHeadSchema.extend({ curve: z.array(epochSchema) })).optional(),
  /** How the figures came about; absent in models that Cardinal has not trained. */
  training: z
    .strictObject({
      /** `train`: the set has no validation images, so the training images stand in for them. */
      evaluatedOn: z.enum(["val", "train"]),
      trainSeconds: z.number(),
      exportError: z.number(),
      head: headOriginSchema.optional(),
      features: featureCountsSchema.optional(),
      endedBy: trainingEndSchema.optional(),
      resumedFromStep: z.int().optional(),
    })
    .optional(),
});
export type ModelReport = z.infer<typeof modelReportSchema>;
