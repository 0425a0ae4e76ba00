/** `POST /v1/models/import`: weights from elsewhere become a model. */
import { z } from "zod";
import { transformSchema } from "./images.ts";
import { aliasSchema } from "./names.ts";
import { architectureSchema } from "./training.ts";

const namesSchema = z.array(z.string().min(1).max(1000)).min(1).max(100_000);

/** `{"0": "daisy", "1": "dandelion"}`, as the usual scripts write it; every index from 0 once. */
const indexSchema = z.record(z.string(), z.string().min(1).max(1000)).transform((index, context) => {
  const names = Object.keys(index).map((_, position) => index[String(position)]);
  if (names.length > 0 && !names.includes(undefined)) return names as string[];
  context.addIssue({ code: "custom", message: "must name every index from 0 on" });
  return z.NEVER;
});

export const importRequestSchema = z.strictObject({
  architecture: architectureSchema,
  /** Where the file is, unless it is the body: an `https:` address of an allowed host, or a store key in `imports/`. */
  source: z.string().max(2000).optional(),
  /** Class names in index order, or a class index. The numbers 0, 1, … when absent. */
  classes: z.union([namesSchema, indexSchema]).optional(),
  /** Short side before the crop, and the crop; the architecture's own by default (256 and 224; V2 weights: 232). */
  resize: z.int().min(1).max(4096).optional(),
  crop: z.int().min(4).max(4096).optional(),
  exif: z.enum(["ignore", "apply"]).default("ignore"),
  alias: aliasSchema.optional(),
});
export type ImportRequest = z.infer<typeof importRequestSchema>;

export const weightsFormatSchema = z.enum(["torch-zip", "torch-legacy", "safetensors"]);

export const importResultSchema = z.strictObject({
  model: z.string(),
  alias: z.string().optional(),
  architecture: architectureSchema,
  classes: z.int(),
  transform: transformSchema,
  format: weightsFormatSchema,
  parameters: z.int(),
  /** What was done to make the file fit: a prefix that was stripped, a wrapper that was opened. */
  notes: z.array(z.string()),
});
export type ImportResult = z.infer<typeof importResultSchema>;
