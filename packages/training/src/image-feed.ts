/**
 * Images to batches for the network.
 *
 * The centre view of an image never changes, so it is kept: pixels as the network takes them, by digest, until
 * `viewBytes` are used. What is kept stays (an epoch reads every image once, in random order: throwing out an old view
 * for a new one would only trade one miss for another). Random crops are new in every epoch; for them the encoded
 * bytes are kept by `blobReader`.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { type Augment, CardinalError, type Emit, problem, type Transform } from "@cardinal/contracts";
import { type Batch, batches, blobReader, seededRandom } from "@cardinal/dataset";
import type { ObjectStore } from "@cardinal/storage";
import { evaluationEnds, type LabelledImage } from "./training-set.ts";

/** 400 MiB of views are 44,000 images of 28 pixels or 700 of 224. */
const VIEW_BYTES = 400 * 2 ** 20;
const ENCODED_BYTES = 256 * 2 ** 20;
/** Images prepared ahead of the batch under way: 32 up to a size of 400 pixels, fewer of larger ones. */
const AHEAD = { images: 32, bytes: 64 * 2 ** 20 };

export interface ImageBatch {
  images: LabelledImage[];
  /** Normalised: [images, crop, crop, 3]. */
  pixels: Float32Array;
  labels: Int32Array;
}

export interface FeedOptions {
  store: ObjectStore;
  transform: Transform;
  emit: Emit;
  signal: AbortSignal;
  viewBytes?: number;
}

export interface AugmentedEpoch {
  augment: Augment;
  seed: number;
  epoch: number;
  /** Position in the epoch of the first image. */
  start: number;
}

export class ImageFeed {
  readonly #options: FeedOptions;
  readonly #read: (sha256: string) => Promise<Buffer>;
  readonly #views = new Map<string, Float32Array>();
  #viewBytesLeft: number;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.#read = blobReader(options.store, { memoryBytes: ENCODED_BYTES });
    this.#viewBytesLeft = options.viewBytes ?? VIEW_BYTES;
  }

  /** Centre views in batches of `batchSize`. Throws the signal's reason between two batches. */
  evaluation(images: LabelledImage[], batchSize: number): AsyncGenerator<ImageBatch> {
    return this.#batches(images, evaluationEnds(images.length, batchSize), this.#centres(images), () => false);
  }

  /**
   * A part of an epoch as the recipe augments it, in batches that end before the indices of `images` in `ends`. The
   * randomness of an image depends on seed, epoch and its position in the epoch alone, so an epoch that is resumed in
   * its middle goes on as if it had never stopped.
   */
  training(images: LabelledImage[], ends: number[], how: AugmentedEpoch): AsyncGenerator<ImageBatch> {
    const random = (index: number) => seededRandom(how.seed, how.epoch, how.start + index);
    if (how.augment.crop === "center" && !how.augment.colorJitter) {
      return this.#batches(images, ends, this.#centres(images), (index) => random(index)() < how.augment.flip);
    }
    return this.#batches(images, ends, this.#rows(images, { augment: how.augment, random }), () => false);
  }

  async *#batches(
    images: LabelledImage[],
    ends: number[],
    rows: AsyncGenerator<Float32Array>,
    mirror: (index: number) => boolean,
  ): AsyncGenerator<ImageBatch> {
    const side = this.#options.transform.crop;
    const size = 3 * side * side;
    let start = 0;
    try {
      for (const end of ends) {
        // Computing blocks the thread. Between two batches the event loop gets its turn, so that messages are seen.
        await nextTurn();
        this.#options.signal.throwIfAborted();
        const part = images.slice(start, end);
        const pixels = new Float32Array(part.length * size);
        for (let row = 0; row < part.length; row++) {
          const target = pixels.subarray(row * size, (row + 1) * size);
          target.set((await rows.next()).value as Float32Array);
          if (mirror(start + row)) mirrorRows(target, side);
        }
        yield { images: part, pixels, labels: Int32Array.from(part, (image) => image.label) };
        start = end;
      }
    } finally {
      await rows.return(undefined);
    }
  }

  /** The centre view of every image, in order: kept ones from memory, the others decoded ahead. */
  async *#centres(images: LabelledImage[]): AsyncGenerator<Float32Array> {
    const missing = new Set(images.filter(({ sha256 }) => !this.#views.has(sha256)));
    const decoded = this.#rows(missing);
    try {
      for (const image of images) {
        if (!missing.has(image)) {
          yield this.#views.get(image.sha256)!;
          continue;
        }
        const view = (await decoded.next()).value as Float32Array;
        this.#keep(image.sha256, view);
        yield view;
      }
    } finally {
      await decoded.return(undefined);
    }
  }

  #keep(sha256: string, view: Float32Array): void {
    if (view.byteLength > this.#viewBytesLeft || this.#views.has(sha256)) return;
    this.#views.set(sha256, view);
    this.#viewBytesLeft -= view.byteLength;
  }

  async #encoded(image: LabelledImage): Promise<Buffer> {
    try {
      return await this.#read(image.sha256);
    } catch (error) {
      throw error instanceof CardinalError && error.code === "digest_mismatch" ? named(image, error) : error;
    }
  }

  /** One row an image. Throws the code of an image that cannot be decoded, with its path. */
  async *#rows(
    images: Iterable<LabelledImage>,
    augment?: { augment: Augment; random(index: number): () => number },
  ): AsyncGenerator<Float32Array> {
    const { transform, emit, signal } = this.#options;
    const fitting = Math.floor(AHEAD.bytes / (12 * transform.crop ** 2));
    const prefetch = Math.max(1, Math.min(AHEAD.images, fitting));
    const read = (image: LabelledImage) => this.#encoded(image);
    const singles = batches(images, {
      ...{ read, transform, layout: "nhwc", batchSize: 1, prefetch, emit, signal },
      ...(augment && { augment }),
    });
    for await (const batch of singles) yield rowOf(batch);
  }
}

function rowOf(batch: Batch<LabelledImage>): Float32Array {
  const { item, error } = batch.entries[0]!;
  if (error) throw named(item, error);
  return batch.data;
}

/**
 * The error with the image's path. Ingest has decoded every image once, so it is about a store that lost or damaged one
 * since.
 */
function named({ path, sha256 }: LabelledImage, error: CardinalError): CardinalError {
  return problem(error.code, `${path}: ${error.message}`, { ...error.details, image: path, sha256 }, error);
}

/** Mirrors an interleaved image left to right, in place. */
export function mirrorRows(pixels: Float32Array, side: number): void {
  for (let row = 0; row < side; row++) {
    let left = row * side * 3;
    let right = left + (side - 1) * 3;
    for (; left < right; left += 3, right -= 3) {
      for (let channel = 0; channel < 3; channel++) {
        const value = pixels[left + channel]!;
        pixels[left + channel] = pixels[right + channel]!;
        pixels[right + channel] = value;
      }
    }
  }
}
