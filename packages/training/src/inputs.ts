/**
 * What the network sees of the images: their pixels, or, where only the head learns, features of the frozen backbone.
 * Those come from the feature cache, so an epoch trains and judges the head alone.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { seededRandom } from "@cardinal/dataset";
import type { AugmentedEpoch, ImageBatch } from "./image-feed.ts";
import type { LabelledFeatures } from "./labelled-features.ts";
import { evaluationEnds, type LabelledImage, type TrainingSet } from "./training-set.ts";

export interface FeatureBatch {
  images: LabelledImage[];
  /** [images, channels] */
  features: Float32Array;
  labels: Int32Array;
}

/** The images of an epoch, and those to judge the network on; see `ImageFeed`, which is one. */
export interface TrainingInputs {
  evaluation(images: LabelledImage[], batchSize: number): AsyncGenerator<ImageBatch | FeatureBatch>;
  training(images: LabelledImage[], ends: number[], how: AugmentedEpoch): AsyncGenerator<ImageBatch | FeatureBatch>;
}

/** Batches of cached features; `images` are always images of the set itself. */
export class FeatureInputs implements TrainingInputs {
  readonly #features: LabelledFeatures;
  readonly #signal: AbortSignal;
  /** Rows by image. */
  readonly #train: ReadonlyMap<LabelledImage, number>;
  readonly #validation: ReadonlyMap<LabelledImage, number>;

  constructor(features: LabelledFeatures, { train, validation }: TrainingSet, signal: AbortSignal) {
    this.#features = features;
    this.#signal = signal;
    this.#train = new Map(train.map((image, row) => [image, row]));
    this.#validation = new Map(validation.map((image, row) => [image, row]));
  }

  evaluation(images: LabelledImage[], batchSize: number): AsyncGenerator<FeatureBatch> {
    return this.#batches(images, evaluationEnds(images.length, batchSize), (image) =>
      this.#row(this.#features.validation.features, this.#validation, image),
    );
  }

  /**
   * Of each image one of its views, drawn anew in every epoch. Which one depends on seed, epoch and the position in the
   * epoch alone, so an epoch that is resumed in its middle goes on as if it had never stopped.
   */
  training(
    images: LabelledImage[],
    ends: number[],
    { seed, epoch, start }: AugmentedEpoch,
  ): AsyncGenerator<FeatureBatch> {
    const { views } = this.#features.train;
    const drawn = (index: number) => Math.floor(seededRandom(seed, epoch, start + index)() * views.length);
    return this.#batches(images, ends, (image, index) =>
      this.#row(views[views.length === 1 ? 0 : drawn(index)]!, this.#train, image),
    );
  }

  #row(matrix: Float32Array, rows: ReadonlyMap<LabelledImage, number>, image: LabelledImage): Float32Array {
    const { channels } = this.#features;
    const row = rows.get(image)!;
    return matrix.subarray(row * channels, (row + 1) * channels);
  }

  async *#batches(
    images: LabelledImage[],
    ends: number[],
    row: (image: LabelledImage, index: number) => Float32Array,
  ): AsyncGenerator<FeatureBatch> {
    const { channels } = this.#features;
    let start = 0;
    for (const end of ends) {
      await nextTurn(); // so that messages are seen
      this.#signal.throwIfAborted();
      const part = images.slice(start, end);
      const features = new Float32Array(part.length * channels);
      for (const [index, image] of part.entries()) features.set(row(image, start + index), index * channels);
      yield { images: part, features, labels: Int32Array.from(part, ({ label }) => label) };
      start = end;
    }
  }
}
