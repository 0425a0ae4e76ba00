/** How an image becomes a tensor: belongs to the model and is kept in its bundle. */
import { z } from "zod";

/** ImageNet's channel means and standard deviations, of values in 0..1 (torchvision's weights use these). */
export const IMAGENET_MEAN = [0.485, 0.456, 0.406] as const;
export const IMAGENET_STD = [0.229, 0.224, 0.225] as const;

const triple = z.tuple([z.number(), z.number(), z.number()]);

/** Evaluation transform: short side to `resize` (bilinear, Pillow's), centre crop of `crop`, then (x/255-mean)/std. */
export const transformSchema = z.strictObject({
  resize: z.int().min(1).max(4096),
  crop: z.int().min(1).max(4096),
  mean: triple,
  std: triple,
  /** `ignore` is torchvision's behaviour. */
  exif: z.enum(["ignore", "apply"]),
});
export type Transform = z.infer<typeof transformSchema>;

const jitterSchema = z.number().min(0).max(10).default(0);

/**
 * torchvision's ColorJitter: brightness, contrast and saturation are multiplied by factors from [max(0, 1 - x), 1 + x],
 * the hue is turned by a part of the circle from [-x, x]; in random order. 0 changes nothing.
 */
export const colorJitterSchema = z.strictObject({
  brightness: jitterSchema,
  contrast: jitterSchema,
  saturation: jitterSchema,
  hue: z.number().min(0).max(0.5).default(0),
});

/** Training-time augmentation of one image. */
export const augmentSchema = z.strictObject({
  /** `center`: the evaluation transform; `random-resized`: torchvision's RandomResizedCrop(crop), area .08 to 1. */
  crop: z.enum(["center", "random-resized"]).default("random-resized"),
  /** Probability of a mirrored image. */
  flip: z.number().min(0).max(1).default(0.5),
  /** After crop and flip. Absent: none. */
  colorJitter: colorJitterSchema.optional(),
});
/** With nothing left to a default. */
export const usedAugmentSchema = augmentSchema.required({ crop: true, flip: true });
export type Augment = z.infer<typeof augmentSchema>;
