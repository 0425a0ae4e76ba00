/** What a head is trained on: the features of a data set's images, from the feature cache. */
import { type FeatureCounts, type FeatureView, problem, type Recipe } from "@cardinal/contracts";
import { backboneDigest, type FeatureNeed, plannedImages, readFeatures, viewDigest } from "@cardinal/features";
import { type Architecture, architecture, featureChannels, type Parameters } from "@cardinal/resnext";
import type { ObjectStore } from "@cardinal/storage";
import type { LabelledImage, TrainingSet } from "./training-set.ts";

export interface LabelledFeatures {
  /** Values of a row. */
  channels: number;
  /** A matrix [images, channels] for each view; rows in the order of the set's training images. */
  train: { views: Float32Array[] };
  /** The centre views of the set's validation images, in their order. */
  validation: { features: Float32Array };
}

export interface HeadTrainingData {
  recipe: Recipe;
  set: TrainingSet;
  /** Of the network; the last layer does not count. */
  parameters: Parameters;
}

/** Held in memory while a head is trained: 524,288 views of a ResNeXt-50. */
const MAX_BYTES = 4 * 2 ** 30;

/** The views of a training image that a recipe of head training takes: the centre one, or random ones of its seed. */
export function trainingViews({ augment, seed }: Recipe): FeatureView[] {
  const { views = 1, ...how } = augment;
  if (views === 1) return ["center"];
  return Array.from({ length: views }, (_, number) => ({ augment: how, seed, number }));
}

/** Everything that has to be in the cache. Throws `too_many_features`. */
export function featureNeeds({ recipe, set }: Pick<HeadTrainingData, "recipe" | "set">): FeatureNeed[] {
  refuseTooMany(architecture(recipe.architecture), recipe, set);
  const inputs = (images: LabelledImage[]) => images.map(({ path, sha256 }) => ({ image: path, sha256 }));
  const views = trainingViews(recipe);
  const train = inputs(set.train);
  const validation = inputs(set.validation);
  if (views[0] === "center") return [{ view: "center", images: [...train, ...validation] }];
  return [...views.map((view) => ({ view, images: train })), { view: "center", images: validation }];
}

/** Throws `features_missing` when the cache lacks any, the store's errors, and the signal's reason. */
export async function readLabelledFeatures(
  store: ObjectStore,
  { recipe, set, parameters }: HeadTrainingData,
  signal?: AbortSignal,
): Promise<LabelledFeatures> {
  const backbone = backboneDigest(recipe.architecture, parameters);
  const read = async (images: LabelledImage[], view: FeatureView) => {
    const place = { backbone, view: viewDigest(recipe.transform, view) };
    const digests = images.map(({ sha256 }) => sha256);
    return (await readFeatures({ store, place, signal }, digests)).rows;
  };
  const views: Float32Array[] = [];
  for (const view of trainingViews(recipe)) views.push(await read(set.train, view));
  const features = await read(set.validation, "center");
  return {
    channels: featureChannels(architecture(recipe.architecture)),
    train: { views },
    validation: { features },
  };
}

/** Images of a set, those of the same bytes counted once. */
export const differentImages = ({ train, validation }: Pick<TrainingSet, "train" | "validation">): number =>
  new Set([...train, ...validation].map(({ sha256 }) => sha256)).size;

/** Where the features of a job came from. */
export async function featureCounts(
  store: ObjectStore,
  job: string,
  { recipe, set }: Pick<HeadTrainingData, "recipe" | "set">,
): Promise<FeatureCounts> {
  const images = differentImages(set);
  // A job whose features went missing had some of them extracted again.
  const extracted = Math.min(images, await plannedImages(store, job));
  return { images, reused: images - extracted, extracted, views: trainingViews(recipe).length };
}

function refuseTooMany(arch: Architecture, recipe: Recipe, { train, validation }: TrainingSet): void {
  const views = recipe.augment.views ?? 1;
  const bytes = 4 * featureChannels(arch) * (train.length * views + validation.length);
  if (bytes <= MAX_BYTES) return;
  throw problem(
    "too_many_features",
    `${views} views of ${train.length} training images and ${validation.length} validation images have ${bytes} bytes ` +
      `of features, more than the ${MAX_BYTES} that are held in memory`,
    { bytes, maxBytes: MAX_BYTES, images: train.length + validation.length, views },
  );
}
