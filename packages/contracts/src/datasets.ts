/** Data sets: manifest rows, class index, ingest report, and what the API shows of a version. */
import { z } from "zod";
import { nameSchema, sha256Schema } from "./names.ts";

export const splitSchema = z.enum(["train", "val", "all"]);
export type Split = z.infer<typeof splitSchema>;

export const imageFormatSchema = z.enum(["jpeg", "png", "webp", "gif", "tiff", "avif"]);

/** One line of `manifest.jsonl`. Lines are sorted by split (train, val, all), then by path in code point order. */
export const manifestRowSchema = z.strictObject({
  /** Path inside the archive without the wrapping folder, exactly as written there. */
  path: z.string().min(1),
  split: splitSchema,
  /** Absent in the split `all`. */
  class: z.string().min(1).optional(),
  sha256: sha256Schema,
  bytes: z.int().positive(),
  width: z.int().positive(),
  height: z.int().positive(),
  format: imageFormatSchema,
});
export type ManifestRow = z.infer<typeof manifestRowSchema>;

/** `classes.json`: class names in index order (Python's `sorted()`, by code point). */
export const classesSchema = z.array(z.string().min(1));

export const ingestReportSchema = z.strictObject({
  images: z.int(),
  bytes: z.int(),
  splits: z.partialRecord(splitSchema, z.int()),
  /** Images per split and class, as a list because class names may look like integers. */
  classes: z.array(z.strictObject({ class: z.string(), train: z.int(), val: z.int() })),
  /** Files that are no images of the set: operating-system litter and unknown file types. */
  junk: z.strictObject({ count: z.int(), examples: z.array(z.string()) }),
  /** Files that look like images but cannot be read; they are left out of the set. */
  skipped: z.strictObject({
    count: z.int(),
    examples: z.array(z.strictObject({ path: z.string(), code: z.string(), message: z.string() })),
  }),
  /** Groups of two or more paths with the same bytes. */
  duplicates: z.strictObject({ count: z.int(), acrossSplits: z.int(), examples: z.array(z.array(z.string())) }),
  warnings: z.array(z.string()),
  /** True when the archive had no val split and one was drawn. */
  valDrawn: z.boolean(),
});
export type IngestReport = z.infer<typeof ingestReportSchema>;

/** `datasets/<name>/<version>/dataset.json`: written last; a version exists when this file does. */
export const datasetVersionSchema = z.strictObject({
  name: nameSchema,
  version: sha256Schema,
  createdAt: z.iso.datetime(),
  /** Name of the key that brought it in first. */
  createdBy: nameSchema.optional(),
  classes: classesSchema,
  report: ingestReportSchema,
});
export type DatasetVersion = z.infer<typeof datasetVersionSchema>;

export const ingestRequestSchema = z.strictObject({
  name: nameSchema,
  /** Share of each class that goes to val when the archive has no val split. */
  valFraction: z.number().gt(0).lt(1).default(0.1),
  /** Seed of that draw. */
  seed: z
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .default(0),
  /** False: folders are no classes, and every image goes to the split `all`, named by its whole path. */
  labels: z.boolean().optional(),
});
export type IngestRequest = z.infer<typeof ingestRequestSchema>;

export interface IngestResult {
  dataset: string;
  version: string;
  /** False when these very files were a version already. */
  created: boolean;
  classes: string[];
  report: IngestReport;
}
