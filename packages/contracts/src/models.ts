/** A model is a bundle: weights never travel without transform, class index, metrics and recipe. */
import { z } from "zod";
import { transformSchema } from "./images.ts";
import { weightsFormatSchema } from "./imports.ts";
import { nameSchema, sha256Schema } from "./names.ts";
import { architectureSchema, epochSchema, headOriginSchema, recipeSchema, trainingEndSchema } from "./training.ts";

export const modelFileSchema = z.enum(["model.onnx", "weights.safetensors", "class_indices.json", "report.json"]);
export type ModelFile = z.infer<typeof modelFileSchema>;

const trainedSchema = z.strictObject({
  job: z.string(),
  dataset: z.strictObject({ name: nameSchema, version: sha256Schema }),
  /** Id of the model that the training started from. */
  base: nameSchema.optional(),
  recipe: recipeSchema,
  software: z.string(),
});

const importedSchema = z.strictObject({
  job: z.string(),
  /** The file that the weights came in. */
  source: z.strictObject({ format: weightsFormatSchema, sha256: sha256Schema, bytes: z.int().positive() }),
  software: z.string(),
});

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
  files: z.record(modelFileSchema, z.strictObject({ sha256: sha256Schema, bytes: z.int().positive() })),
});
export type ModelManifest = z.infer<typeof modelManifestSchema>;

/** `models/<id>/report.json`. */
export const modelReportSchema = z.strictObject({
  epochs: z.array(epochSchema),
  /** Rows are true classes, columns predicted ones, in class index order. */
  confusion: z.array(z.array(z.int())),
  classes: z.array(
    z.strictObject({ class: z.string(), images: z.int(), precision: z.number(), recall: z.number(), f1: z.number() }),
  ),
  /** Of weights that came from elsewhere; there are no figures then. */
  imported: z.strictObject({ parameters: z.int(), notes: z.array(z.string()) }).optional(),
  /** How the figures came about; absent in models that Cardinal has not trained. */
  training: z
    .strictObject({
      /** `train`: the set has no validation images, so the training images stand in for them. */
      evaluatedOn: z.enum(["val", "train"]),
      trainSeconds: z.number(),
      exportError: z.number(),
      head: headOriginSchema.optional(),
      endedBy: trainingEndSchema.optional(),
      resumedFromStep: z.int().optional(),
    })
    .optional(),
});
export type ModelReport = z.infer<typeof modelReportSchema>;
