/** A model is a bundle: weights never travel without transform, class index, metrics and recipe. */
import { z } from "zod";
import { transformSchema } from "./images.ts";
import { aliasSchema, nameSchema, sha256Schema } from "./names.ts";
import { architectureSchema, epochSchema, recipeSchema } from "./training.ts";

export const modelFileSchema = z.enum(["model.onnx", "weights.safetensors", "class_indices.json", "report.json"]);
export type ModelFile = z.infer<typeof modelFileSchema>;

/** `models/<id>/manifest.json`: written last; a model exists when this file does. */
export const modelManifestSchema = z.strictObject({
  format: z.literal(1),
  id: nameSchema,
  createdAt: z.iso.datetime(),
  architecture: architectureSchema,
  classes: z.array(z.string().min(1)).min(1),
  transform: transformSchema,
  metrics: z.strictObject({ valAccuracy: z.number(), valLoss: z.number(), bestEpoch: z.int() }),
  lineage: z.strictObject({
    job: z.string(),
    dataset: z.strictObject({ name: nameSchema, version: sha256Schema }),
    recipe: recipeSchema,
    software: z.string(),
  }),
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
  /** How the figures came about; absent in models that Cardinal has not trained. */
  training: z
    .strictObject({
      /** `train`: the set has no validation images, so the training images stand in for them. */
      evaluatedOn: z.enum(["val", "train"]),
      trainSeconds: z.number(),
      exportError: z.number(),
      resumedFromStep: z.int().optional(),
    })
    .optional(),
});
export type ModelReport = z.infer<typeof modelReportSchema>;

/** `aliases/<alias>.json`. */
export const aliasRecordSchema = z.strictObject({
  alias: aliasSchema,
  model: nameSchema,
  updatedAt: z.iso.datetime(),
  /** Newest first, at most 100. */
  history: z.array(z.strictObject({ model: nameSchema, updatedAt: z.iso.datetime() })),
});
export type AliasRecord = z.infer<typeof aliasRecordSchema>;

export const aliasRequestSchema = z.strictObject({ model: nameSchema });
