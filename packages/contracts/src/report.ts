/**
 * Parts of a model's `report.json`: what the judged images say; docs/reports.md has each figure's formula. And the
 * cells of a contact sheet.
 */
import { z } from "zod";
import { transformSchema } from "./images.ts";
import { sha256Schema } from "./names.ts";
import { errorRowSchema, resultRowSchema } from "./rows.ts";

/** A small picture inside a page. Width and height are its own, in pixels. */
export const thumbnailSchema = z.strictObject({
  data: z.string().regex(/^data:image\/webp;base64,[A-Za-z0-9+/=]+$/),
  width: z.int().positive(),
  height: z.int().positive(),
});
export type Thumbnail = z.infer<typeof thumbnailSchema>;

/** Share of right answers by confidence, Guo et al. 2017, "On Calibration of Modern Neural Networks". */
export const calibrationSchema = z.strictObject({
  /** Expected calibration error: |accuracy - confidence| of the bins, weighted with their images. */
  ece: z.number(),
  /** Equal widths from 0 to 1; a bin has the images whose confidence is above `from` and at most `to`. */
  bins: z.array(
    z.strictObject({
      from: z.number(),
      to: z.number(),
      images: z.int(),
      /** Means over the bin's images; absent in an empty bin. */
      confidence: z.number().optional(),
      accuracy: z.number().optional(),
    }),
  ),
});
export type Calibration = z.infer<typeof calibrationSchema>;

export const confusedPairSchema = z.strictObject({
  class: z.string(),
  predicted: z.string(),
  images: z.int(),
  /** `images` over all images of the class. */
  share: z.number(),
});
export type ConfusedPair = z.infer<typeof confusedPairSchema>;

export const mistakeSchema = z.strictObject({
  /** Path in the data set. */
  image: z.string(),
  sha256: sha256Schema,
  class: z.string(),
  predicted: z.string(),
  /** Of the predicted class, and of the true one. */
  probability: z.number(),
  classProbability: z.number(),
  /** Absent when none could be made. */
  thumbnail: thumbnailSchema.optional(),
});
export type Mistake = z.infer<typeof mistakeSchema>;

const averageSchema = z.strictObject({ precision: z.number(), recall: z.number(), f1: z.number() });

/** Figures of the kept weights on the images that the training was judged on. */
export const evaluationSchema = z.strictObject({
  images: z.int(),
  loss: z.number(),
  top1: z.number(),
  /** Share of images whose class is among the five most probable ones; 1 where there are no more than five. */
  top5: z.number(),
  /** Means of the classes that have images: each the same (`macro`), and by their images (`weighted`). */
  averages: z.strictObject({ macro: averageSchema, weighted: averageSchema }),
  calibration: calibrationSchema,
  /** The most frequent first, at most 100. */
  confusedPairs: z.array(confusedPairSchema),
  /** The most confident first, at most 20. */
  mistakes: z.array(mistakeSchema),
});
export type EvaluationReport = z.infer<typeof evaluationSchema>;

/** Images whose very bytes are in train and in val: the network has seen them, so they flatter its figures. */
export const splitDuplicatesSchema = z.strictObject({
  /** Different contents that are in both splits. */
  contents: z.int(),
  /** Validation images that have such a content. */
  validationImages: z.int(),
  /** Contents among them that have one class in train and another in val. */
  otherClass: z.int(),
  /** At most 20 contents, with at most 3 paths a split. */
  examples: z.array(
    z.strictObject({
      sha256: sha256Schema,
      train: z.array(z.string()),
      val: z.array(z.string()),
      sameClass: z.boolean(),
    }),
  ),
});
export type SplitDuplicates = z.infer<typeof splitDuplicatesSchema>;

/**
 * `prepare`: before the first epoch, mostly features of a frozen backbone; `train` and `validate`: all epochs; `judge`:
 * the kept weights on the validation images for this report; `export`: ONNX and its check.
 */
export const trainingPhaseSchema = z.strictObject({
  phase: z.enum(["prepare", "train", "validate", "judge", "export"]),
  seconds: z.number(),
  images: z.int().optional(),
  imagesPerSecond: z.number().optional(),
});
export type TrainingPhase = z.infer<typeof trainingPhaseSchema>;

/** One line of a predict job's `contact-sheet.jsonl`: a row with its picture; without one when none could be made. */
export const contactCellSchema = z.strictObject({
  row: z.union([resultRowSchema, errorRowSchema]),
  thumbnail: thumbnailSchema.optional(),
});
export type ContactCell = z.infer<typeof contactCellSchema>;

/** What a predict-worker asks its compute process for, when a job's rows are whole. */
export const contactSheetTaskSchema = z.strictObject({
  job: z.string(),
  /** Rows that get a cell, from the first on. */
  images: z.int().min(0),
  /** How the model takes EXIF's orientation. */
  exif: transformSchema.shape.exif,
});
export type ContactSheetTask = z.infer<typeof contactSheetTaskSchema>;
