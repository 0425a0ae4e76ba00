/**
 * What the network sees of the images: their pixels, or, where only the head learns and the views do not change, the
 * features that the frozen backbone gives for them. Those are computed once in a job's attempt, then every epoch
 * trains and judges the head alone.
 *
 * Features are computed in batches that depend on the data set only, so that they have the same bits in every attempt.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Emit, Recipe } from "@cardinal/contracts";
import { seededRandom } from "@cardinal/dataset";
import { featureChannels } from "@cardinal/resnext";
import { type Network, tf } from "@cardinal/resnext/tfjs";
import { type AugmentedEpoch, type ImageBatch, type ImageFeed, mirrorRows } from "./image-feed.ts";
import type { LabelledImage, TrainingSet } from "./training-set.ts";

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

const BATCH = 16;
/** 2 GiB are the features of 262,144 views of a ResNeXt-50. */
const MAX_BYTES = 2 * 2 ** 30;

/** Whether the views of an image are always the same ones and only the head learns. */
export function canUseFeatures({ trainable, augment }: Recipe): boolean {
  return trainable === "head" && augment.crop === "center" && !augment.colorJitter;
}

export interface FeatureOptions {
  network: Network;
  feed: ImageFeed;
  set: TrainingSet;
  recipe: Recipe;
  emit: Emit;
  signal: AbortSignal;
}

/**
 * Computes the features of all views that the training takes: the centre view of every image, and of training images
 * the mirrored one when the recipe mirrors. Gives the feed itself, and says so in the log, when they are too many to
 * be held in memory. Throws the signal's reason between two batches.
 */
export async function featureInputs(options: FeatureOptions): Promise<TrainingInputs> {
  const { network, feed, set, recipe, emit, signal } = options;
  const started = performance.now();
  const train = distinct(set.train);
  const known = new Set(train.map(({ sha256 }) => sha256));
  const validation = distinct(set.validation).filter(({ sha256 }) => !known.has(sha256));
  const mirrors = recipe.augment.flip > 0;
  const views = train.length * (mirrors ? 2 : 1) + validation.length;
  const bytes = 4 * featureChannels(network.architecture) * views;
  if (bytes > MAX_BYTES) {
    const message = "the features would not fit into memory: the backbone runs in every epoch";
    emit({ type: "log", level: "warn", message, details: { views, bytes, maxBytes: MAX_BYTES } });
    return feed;
  }
  const inputs = new FeatureInputs(signal);
  for (const [images, mirrored] of [
    [train, mirrors],
    [validation, false],
  ] as const) {
    for await (const batch of feed.evaluation(images, BATCH)) inputs.extract(network, batch, mirrored, emit);
  }
  const details = { images: train.length + validation.length, views, seconds: (performance.now() - started) / 1000 };
  emit({ type: "log", level: "info", message: "features of the frozen backbone computed", details });
  return inputs;
}

/** Every image of that content once. */
function distinct(images: LabelledImage[]): LabelledImage[] {
  return [...new Map(images.map((image) => [image.sha256, image])).values()];
}

class FeatureInputs implements TrainingInputs {
  readonly #signal: AbortSignal;
  /** Rows of features by the digest of the image. */
  readonly #plain = new Map<string, Float32Array>();
  readonly #mirrored = new Map<string, Float32Array>();

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Takes in the features of a batch, and of its mirrored images; these replace the batch's pixels. */
  extract(network: Network, batch: ImageBatch, mirrored: boolean, emit: Emit): void {
    this.#compute(network, batch, this.#plain, emit);
    if (!mirrored) return;
    const size = batch.pixels.length / batch.images.length;
    const side = Math.sqrt(size / 3);
    for (let at = 0; at < batch.pixels.length; at += size) mirrorRows(batch.pixels.subarray(at, at + size), side);
    this.#compute(network, batch, this.#mirrored, emit);
  }

  evaluation(images: LabelledImage[], batchSize: number): AsyncGenerator<FeatureBatch> {
    const ends = images.map((_, index) => index + 1).filter((end) => end % batchSize === 0 || end === images.length);
    return this.#batches(images, ends, () => this.#plain);
  }

  /** Mirrors the same images as `ImageFeed` does. */
  training(images: LabelledImage[], ends: number[], how: AugmentedEpoch): AsyncGenerator<FeatureBatch> {
    const { seed, epoch, start, augment } = how;
    const mirrors = (index: number) => seededRandom(seed, epoch, start + index)() < augment.flip;
    return this.#batches(images, ends, (index) => (mirrors(index) ? this.#mirrored : this.#plain));
  }

  async *#batches(
    images: LabelledImage[],
    ends: number[],
    source: (index: number) => ReadonlyMap<string, Float32Array>,
  ): AsyncGenerator<FeatureBatch> {
    let start = 0;
    for (const end of ends) {
      await nextTurn(); // so that messages are seen
      this.#signal.throwIfAborted();
      const part = images.slice(start, end);
      const rows = part.map(({ sha256 }, row) => source(start + row).get(sha256)!);
      const features = new Float32Array(part.length * rows[0]!.length);
      rows.forEach((values, row) => void features.set(values, row * values.length));
      yield { images: part, features, labels: Int32Array.from(part, ({ label }) => label) };
      start = end;
    }
  }

  #compute(network: Network, { images, pixels }: ImageBatch, into: Map<string, Float32Array>, emit: Emit): void {
    const started = performance.now();
    const side = Math.sqrt(pixels.length / 3 / images.length);
    const values = tf.tidy(() => {
      const x = tf.tensor4d(pixels, [images.length, side, side, 3]);
      return network.features(x).dataSync() as Float32Array;
    });
    const size = values.length / images.length;
    images.forEach(({ sha256 }, row) => void into.set(sha256, values.slice(row * size, (row + 1) * size)));
    emit({ type: "stage", stage: "infer", seconds: (performance.now() - started) / 1000 });
  }
}
