/** What features are of: a view of an image, as the transform of the model makes it. */
import { z } from "zod";
import { usedAugmentSchema } from "./images.ts";

/**
 * `center`: the evaluation transform. Otherwise one of the random views of an image: cropped and mirrored as `augment`
 * says, by randomness that depends on the seed, the number of the view and the image's digest alone.
 */
export const featureViewSchema = z.union([
  z.literal("center"),
  z.strictObject({
    augment: usedAugmentSchema,
    seed: z.int().min(0),
    /** From 0. */
    number: z.int().min(0),
  }),
]);
export type FeatureView = z.infer<typeof featureViewSchema>;

/** Where the features of a job came from, in images; an image of which a view was missing counts as extracted. */
export const featureCountsSchema = z.strictObject({
  /** Different images that the job has taken features of. */
  images: z.int(),
  /** Of those, found in the cache. */
  reused: z.int(),
  /** Of those, computed for this job. */
  extracted: z.int(),
  /** Views of each training image. */
  views: z.int().min(1),
});
export type FeatureCounts = z.infer<typeof featureCountsSchema>;
