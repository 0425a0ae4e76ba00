/** A single image: its bytes in, its answer out. */

import { setImmediate as turnOfTheLoop } from "node:timers/promises";
import type { Emit, ImageAnswer } from "@cardinal/contracts";
import { decodeImage, normalizeInto, releasePixels, resizeAndCrop } from "@cardinal/dataset";
import type { SessionPool } from "./session-pool.ts";
import { topK } from "./top-k.ts";

export interface PredictImageOptions {
  /** The encoded image. */
  bytes: Uint8Array;
  /** Id of the model. */
  model: string;
  topK: number | "all";
  models: SessionPool;
  emit?: Emit;
  /** Nobody waits for the answer any more: no further step is begun. */
  signal?: AbortSignal;
}

/**
 * Classifies one image exactly as a batch would. Throws the decoder's errors (`empty_file`, `not_an_image`,
 * `unsupported_format`, `image_truncated`, `image_too_large`, `image_unreadable`), `prediction_not_finite`, and those
 * of loading the model. An abort rejects with the signal's reason, at once: what is under way (a load, a run of the
 * network) goes on and its result is dropped.
 */
export async function predictImage(options: PredictImageOptions): Promise<ImageAnswer> {
  const { bytes, models, emit, signal } = options;
  try {
    signal?.throwIfAborted();
    const answering = models.use(
      options.model,
      async ({ manifest, session }) => {
        signal?.throwIfAborted();
        const { transform, classes } = manifest;
        const timed = stopwatch(emit);
        const image = await decodeImage(bytes, { exif: transform.exif });
        timed("decode");
        const data = new Float32Array(3 * transform.crop ** 2);
        const cropped = resizeAndCrop(image, transform);
        releasePixels(image);
        normalizeInto(cropped, transform, "nchw", data, 0);
        timed("transform");
        await turnOfTheLoop(); // on which an abort may have come
        signal?.throwIfAborted();
        const logits = await session.run(data, 1);
        timed("infer");
        return topK(logits, options.topK, classes);
      },
      emit,
    );
    const top = await unlessAborted(answering, signal);
    emit?.({ type: "images", stage: "predict", outcome: "ok", count: 1 });
    emit?.({ type: "confidence", values: [top[0]!.probability] });
    return { model: options.model, top };
  } catch (error) {
    signal?.throwIfAborted();
    emit?.({ type: "images", stage: "predict", outcome: "error", count: 1 });
    throw error;
  }
}

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** Tells how long it is since the last call. */
function stopwatch(emit: Emit | undefined): (stage: "decode" | "transform" | "infer") => void {
  let last = performance.now();
  return (stage) => {
    const now = performance.now();
    emit?.({ type: "stage", stage, seconds: (now - last) / 1000 });
    last = now;
  };
}
