/** Result rows: one for every input image, in input order; an image that cannot be answered is an error row. */
import { z } from "zod";
import { sha256Schema } from "./names.ts";

export const predictionSchema = z.strictObject({ class: z.string(), index: z.int(), probability: z.number() });
export type Prediction = z.infer<typeof predictionSchema>;

export const resultRowSchema = z.strictObject({
  image: z.string(),
  sha256: sha256Schema,
  class: z.string(),
  index: z.int(),
  probability: z.number(),
  top: z.array(predictionSchema),
  /** The true class, when the data set has labels. */
  label: z.string().optional(),
});
export type ResultRow = z.infer<typeof resultRowSchema>;

/** Of `output: "features"`: where in the matrix the image's features stand. */
export const featureRowSchema = z.strictObject({
  image: z.string(),
  sha256: sha256Schema,
  /** Row of the matrix, from 0. */
  row: z.int(),
  label: z.string().optional(),
});
export type FeatureRow = z.infer<typeof featureRowSchema>;

export const errorRowSchema = z.strictObject({ image: z.string(), code: z.string(), message: z.string() });
export type ErrorRow = z.infer<typeof errorRowSchema>;

/** Of `output: "classes"`. */
export const rowSchema = z.union([resultRowSchema, errorRowSchema]);
export type Row = z.infer<typeof rowSchema>;

/** Of either output. */
export const jobRowSchema = z.union([resultRowSchema, featureRowSchema, errorRowSchema]);
export type JobRow = z.infer<typeof jobRowSchema>;

export const isErrorRow = (row: JobRow): row is ErrorRow => "code" in row;
