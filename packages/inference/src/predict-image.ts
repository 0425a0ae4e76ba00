/** A single image: its bytes in, its answer out. */

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
}

/**
 * Classifies one image exactly as a batch would. Throws the decoder's errors (`empty_file`, `not_an_image`,
 * `unsupported_format`, `image_truncated`, `image_too_large`, `image_unreadable`), `prediction_not_finite`, and those
 * of loading the model.
 */
export async function predictImage(options: PredictImageOptions): Promise<ImageAnswer> {
  const { bytes, models, emit } = options;
  try {
    const top = await models.use(
      options.model,
      async ({ manifest, session }) => {
        const { transform, classes } = manifest;
        const timed = stopwatch(emit);
        const image = await decodeImage(bytes, { exif: transform.exif });
        timed("decode");
        const data = new Float32Array(3 * transform.crop ** 2);
        const cropped = resizeAndCrop(image, transform);
        releasePixels(image);
        normalizeInto(cropped, transform, "nchw", data, 0);
        timed("transform");
        const logits = await session.run(data, 1);
        timed("infer");
        return topK(logits, options.topK, classes);
      },
      emit,
    );
    emit?.({ type: "images", stage: "predict", outcome: "ok", count: 1 });
    emit?.({ type: "confidence", values: [top[0]!.probability] });
    return { model: options.model, top };
  } catch (error) {
    emit?.({ type: "images", stage: "predict", outcome: "error", count: 1 });
    throw error;
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
