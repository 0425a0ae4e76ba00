/** The rows of a data set version that a training reads, and how an epoch is cut into batches. */
import { type ClassCount, needsTwoImages, problem, type Recipe, refuseSmallBatch } from "@cardinal/contracts";
import { readDataset, readManifest, seededRandom, shuffled } from "@cardinal/dataset";
import type { ObjectStore } from "@cardinal/storage";

export interface LabelledImage {
  /** Path in the data set, for messages. */
  path: string;
  sha256: string;
  /** Class index. */
  label: number;
}

export interface TrainingSet {
  name: string;
  version: string;
  /** Class names in index order. */
  classes: string[];
  train: LabelledImage[];
  /** What every epoch is judged on; see `evaluatedOn`. */
  validation: LabelledImage[];
  /**
   * Where `validation` is from. A set whose every class has one image has no val split: its training images then take
   * the place (in the centre view, without augmentation), so that there always is a figure, and the report says so.
   */
  evaluatedOn: "val" | "train";
}

/**
 * Reads the manifest's train and val splits. Throws `dataset_not_found`, `dataset_not_trainable` for a set without
 * labelled training images and `single_class`.
 */
export async function readTrainingSet(
  store: ObjectStore,
  dataset: { name: string; version: string },
): Promise<TrainingSet> {
  const { name, version, classes, report } = await readDataset(store, dataset.name, dataset.version);
  const details = { dataset: name, version };
  const labels = new Map(classes.map((className, index) => [className, index]));
  const rowsOf = async (split: "train" | "val") => {
    const images: LabelledImage[] = [];
    if (!report.splits[split]) return images;
    for await (const row of readManifest(store, name, version, split)) {
      const label = row.class === undefined ? undefined : labels.get(row.class);
      if (label === undefined) {
        throw problem("dataset_not_trainable", `${row.path} of ${name} has no class of the class index`, details);
      }
      images.push({ path: row.path, sha256: row.sha256, label });
    }
    return images;
  };
  const train = classes.length > 0 ? await rowsOf("train") : [];
  if (train.length === 0) {
    throw problem("dataset_not_trainable", `data set ${name} has no labelled training images`, details);
  }
  if (classes.length === 1) {
    throw problem("single_class", `data set ${name} has one class only: ${classes[0]}`, { ...details, classes });
  }
  const val = await rowsOf("val");
  const evaluatedOn = val.length > 0 ? "val" : "train";
  return { name, version, classes, train, validation: val.length > 0 ? val : train, evaluatedOn };
}

/**
 * Where the batches of an epoch of `images` images end; every epoch has the same. A single image at the end joins the
 * batch before it where two are needed (see `needsTwoImages`), so none is lost. Throws `batch_too_small`.
 */
export function batchEnds(recipe: Recipe, images: number): number[] {
  refuseSmallBatch(recipe, images);
  const { batchSize } = recipe;
  const ends: number[] = [];
  for (let end = batchSize; end < images; end += batchSize) ends.push(end);
  if (needsTwoImages(recipe) && images - (ends.at(-1) ?? 0) === 1) ends.pop();
  ends.push(images);
  return ends;
}

/** Where the steps of an epoch end whose batches end at `ends`: after `accumulate` batches, and after the last one. */
export function stepEnds(ends: readonly number[], accumulate: number): number[] {
  return ends.filter((_, index) => (index + 1) % accumulate === 0 || index === ends.length - 1);
}

/** Where the batches end in which so many images are judged. */
export const evaluationEnds = (images: number, batchSize: number): number[] =>
  stepEnds(
    Array.from({ length: images }, (_, index) => index + 1),
    batchSize,
  );

/** The training images of each class, in class index order. */
export function classCounts({ classes, train }: Pick<TrainingSet, "classes" | "train">): ClassCount[] {
  const counts = classes.map((name) => ({ class: name, train: 0 }));
  for (const { label } of train) counts[label]!.train++;
  return counts;
}

/** The order in which an epoch (from 0) takes the images: a permutation of its own, the same for the same seed. */
export function epochOrder(images: LabelledImage[], seed: number, epoch: number): LabelledImage[] {
  return Array.from(shuffled(images.length, seededRandom(seed, epoch)), (index) => images[index]!);
}
