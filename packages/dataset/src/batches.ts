/**
 * Images to batches of tensors, prepared ahead while the consumer computes.
 *
 * States of a batch: planned (its inputs are being taken) -> prepared (read, decoded, transformed) -> given out.
 * Invariants: batches are given out in the order of the inputs; at most `prefetch` batches are planned or prepared
 * beyond the one that the consumer holds; at most `IMAGES_AT_ONCE` images are between read and transform; when the
 * consumer stops, by an error, a `break` or the signal, nothing is begun any more and the generator ends after the
 * images that were under way.
 */
import type { Augment, CardinalError, Emit, Stage, Transform } from "@cardinal/contracts";
import { decodeImage, isImageError, type RgbImage, releasePixels } from "./decode.ts";
import { limiter } from "./limiter.ts";
import { normalizeInto, randomResizedCrop, resizeAndCrop, type TensorLayout } from "./transform.ts";

export interface BatchEntry<T> {
  /** Position in the inputs. */
  index: number;
  item: T;
  /** Why the image has no row in `data`. */
  error?: CardinalError;
}

export interface Batch<T> {
  /** One for every input, in order. */
  entries: BatchEntry<T>[];
  /** Entries without an error. */
  count: number;
  /**
   * Their rows, in order: [count, 3, crop, crop] or [count, crop, crop, 3]. With `crops` each has as many rows, one
   * after the other.
   */
  data: Float32Array;
}

export interface BatchOptions<T> {
  read(item: T): Promise<Uint8Array>;
  transform: Transform;
  layout: TensorLayout;
  batchSize: number;
  /** Batches prepared ahead of the consumer, default 2. Memory: `(prefetch + 1) * batchSize * 12 * crop * crop` bytes. */
  prefetch?: number;
  /** Absent: the evaluation transform. `random` makes the source of the image at `index`. */
  augment?: { augment: Augment; random(index: number): () => number };
  /** In the place of `augment`: the squares of `transform.crop` pixels that each image gives. It is decoded once. */
  crops?: readonly ((image: RgbImage, item: T) => RgbImage)[];
  emit?: Emit;
  signal?: AbortSignal;
}

/** The decoder works on libuv's threads, of which there are four unless UV_THREADPOOL_SIZE says otherwise. */
const IMAGES_AT_ONCE = 4;

/**
 * Batches of `batchSize` inputs, the last one with what is left. An image that cannot be read or decoded is an entry
 * with an error; what is not about the image (the store cannot be reached) is thrown. The signal's reason is thrown
 * when it aborts.
 */
export async function* batches<T>(
  inputs: Iterable<T> | AsyncIterable<T>,
  options: BatchOptions<T>,
): AsyncGenerator<Batch<T>> {
  const { batchSize, prefetch = 2, signal } = options;
  if (!Number.isInteger(batchSize) || batchSize < 1) throw new RangeError(`batchSize must be >= 1, not ${batchSize}`);
  if (!Number.isInteger(prefetch) || prefetch < 0) throw new RangeError(`prefetch must be >= 0, not ${prefetch}`);
  const stop = new AbortController();
  const abort = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  const source = inputBatches(inputs, batchSize);
  const limit = limiter(IMAGES_AT_ONCE);
  const pending: Promise<Batch<T> | undefined>[] = [];
  const plan = async (taken: Promise<IteratorResult<BatchEntry<T>[]>>) => {
    const { done, value } = await taken;
    return done ? undefined : prepare(value, options, limit, abort);
  };
  try {
    for (;;) {
      while (pending.length <= prefetch) {
        const next = plan(source.next());
        next.catch(() => {}); // it is awaited below, but maybe only after an earlier one has thrown
        pending.push(next);
      }
      signal?.throwIfAborted();
      const batch = await pending.shift();
      signal?.throwIfAborted();
      if (batch === undefined) return;
      yield batch;
    }
  } finally {
    stop.abort();
    await Promise.allSettled(pending);
    await source.return(undefined);
  }
}

/** Groups of inputs. Calls of `next()` queue up, so groups may be asked for before the ones before have arrived. */
async function* inputBatches<T>(
  inputs: Iterable<T> | AsyncIterable<T>,
  batchSize: number,
): AsyncGenerator<BatchEntry<T>[], undefined> {
  let entries: BatchEntry<T>[] = [];
  let index = 0;
  for await (const item of inputs) {
    entries.push({ index: index++, item });
    if (entries.length === batchSize) {
      yield entries;
      entries = [];
    }
  }
  if (entries.length > 0) yield entries;
}

type Limit = ReturnType<typeof limiter>;

async function prepare<T>(
  entries: BatchEntry<T>[],
  options: BatchOptions<T>,
  limit: Limit,
  abort: AbortSignal,
): Promise<Batch<T>> {
  const size = 3 * options.transform.crop ** 2 * (options.crops?.length ?? 1);
  const data = new Float32Array(entries.length * size);
  // Settled and not raced, so that no image is still under way when an error reaches the consumer.
  const results = await Promise.allSettled(
    entries.map((entry, row) =>
      limit(async () => {
        abort.throwIfAborted();
        await loadRow(entry, options, data, row * size);
      }),
    ),
  );
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
  return compact(entries, data, size);
}

/** Reads, decodes, transforms and normalises one image into its rows, or notes in the entry why that failed. */
async function loadRow<T>(entry: BatchEntry<T>, options: BatchOptions<T>, data: Float32Array, offset: number) {
  const { emit, transform, layout } = options;
  try {
    const bytes = await timed(emit, "read", () => options.read(entry.item));
    const image = await timed(emit, "decode", () => decodeImage(bytes, { exif: transform.exif }));
    await timed(emit, "transform", () => {
      const crops = options.crops ?? [(image: RgbImage) => cropped(image, entry.index, options)];
      for (const [row, crop] of crops.entries()) {
        const square = crop(image, entry.item);
        normalizeInto(square, transform, layout, data, offset + row * 3 * transform.crop ** 2);
        releasePixels(square);
      }
      releasePixels(image);
    });
  } catch (error) {
    if (!isImageError(error)) throw error;
    entry.error = error;
  }
}

function cropped<T>(image: RgbImage, index: number, { transform, augment }: BatchOptions<T>): RgbImage {
  if (!augment) return resizeAndCrop(image, transform);
  return randomResizedCrop(image, transform, augment.augment, augment.random(index));
}

/** Moves the rows of images together over those without one. */
function compact<T>(entries: BatchEntry<T>[], data: Float32Array, size: number): Batch<T> {
  let count = 0;
  entries.forEach((entry, row) => {
    if (entry.error) return;
    if (count < row) data.copyWithin(count * size, row * size, (row + 1) * size);
    count++;
  });
  return { entries, count, data: count === entries.length ? data : data.subarray(0, count * size) };
}

/** The work's result; its time is told as a stage's when it succeeds. */
export async function timed<R>(emit: Emit | undefined, stage: Stage, work: () => R | Promise<R>): Promise<R> {
  const started = performance.now();
  const result = await work();
  emit?.({ type: "stage", stage, seconds: (performance.now() - started) / 1000 });
  return result;
}
