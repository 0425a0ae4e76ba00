/** What a training request may say about augmentation, and what that means for the part that is trained. */
import { z } from "zod";
import { augmentSchema, usedAugmentSchema } from "./images.ts";

/** Views of an image that are cached, at most; each costs a forward pass of the backbone and its features. */
export const MAX_VIEWS = 100;

/** Defaults depend on what is trained, so they are filled in by `effectiveAugment`. */
export const augmentRequestSchema = z.strictObject({
  /** `center`: the evaluation transform; `random-resized`: torchvision's RandomResizedCrop(crop), area .08 to 1. */
  crop: augmentSchema.shape.crop.unwrap().optional(),
  /** Probability of a mirrored image. */
  flip: augmentSchema.shape.flip.unwrap().optional(),
  /** After crop and flip. Absent: none. */
  colorJitter: augmentSchema.shape.colorJitter,
  /** Of head training only, 1: how many views of a training image go through the backbone. */
  views: z.int().min(1).max(MAX_VIEWS).optional(),
});
export type AugmentRequest = z.infer<typeof augmentRequestSchema>;

/** What a recipe says. `views` stands there for head training only. */
export const augmentRecipeSchema = usedAugmentSchema.extend({ views: z.int().min(1).optional() });
export type AugmentRecipe = z.infer<typeof augmentRecipeSchema>;

/** The field that contradicts the others, and why. */
export interface AugmentIssue {
  path: "crop" | "flip" | "colorJitter" | "views";
  message: string;
}

/**
 * The augmentation of a request with every default filled in.
 *
 * Where images go through the network in every step they are augmented live: `random-resized` and `flip` 0.5 unless the
 * request says otherwise. A head is trained on features that were computed once: with one view these are of the centre
 * view, as it is; from two views on each is made as `crop`, `flip` and `colorJitter` say, with the same defaults.
 */
export function effectiveAugment(
  trainable: string,
  { crop, flip, colorJitter, views }: AugmentRequest,
): { augment: AugmentRecipe } | { issue: AugmentIssue } {
  const live = { crop: crop ?? "random-resized", flip: flip ?? 0.5, ...(colorJitter && { colorJitter }) } as const;
  if (trainable !== "head") {
    if (views === undefined) return { augment: live };
    return { issue: { path: "views", message: "is for trainable 'head' only: other trainings augment live" } };
  }
  if (views === undefined || views === 1) {
    const remedy = "with one view a head is trained on the centre view; ask for 2 or more views";
    if (crop !== undefined && crop !== "center") return { issue: { path: "crop", message: remedy } };
    if (flip !== undefined && flip !== 0) return { issue: { path: "flip", message: remedy } };
    if (colorJitter !== undefined) return { issue: { path: "colorJitter", message: remedy } };
    return { augment: { crop: "center", flip: 0, views: 1 } };
  }
  if (live.crop === "center" && (live.flip === 0 || live.flip === 1) && !colorJitter) {
    return { issue: { path: "views", message: "would all be the same: the centre view, mirrored always or never" } };
  }
  return { augment: { ...live, views } };
}
