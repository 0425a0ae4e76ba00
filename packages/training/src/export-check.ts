/** The model as others run it, compared with the network that was trained. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { problem } from "@cardinal/contracts";
import { loadSession } from "@cardinal/inference";
import type { ImageBatch } from "./image-feed.ts";

/** Both sides compute in float32 and in another order, BatchNorm folded on one: 1e-6 to 1e-5 is usual. */
export const EXPORT_TOLERANCE = 1e-3;

/** Real images, and the logits that the training side has for them: [images, classes]. */
export interface ExpectedLogits {
  batch: ImageBatch;
  logits: Float32Array;
}

/**
 * Runs the .onnx file in ONNX Runtime beside the training side. Gives the largest difference between their logits over the
 * largest logit. Throws `export_mismatch` when that is over `EXPORT_TOLERANCE` (or not a number).
 */
export async function checkExport(
  onnx: Uint8Array,
  expected: AsyncIterable<ExpectedLogits>,
  threads: number,
): Promise<number> {
  const folder = await mkdtemp(path.join(tmpdir(), "cardinal-export-"));
  try {
    const file = path.join(folder, "model.onnx");
    await writeFile(file, onnx);
    const session = await loadSession(file, { threads });
    try {
      let difference = 0;
      let peak = 0;
      for await (const { batch, logits } of expected) {
        const actual = await session.run(toNchw(batch, session.side), batch.labels.length);
        logits.forEach((value, index) => {
          // Math.max gives NaN as soon as one side is NaN
          difference = Math.max(difference, Math.abs(value - actual[index]!));
          peak = Math.max(peak, Math.abs(value));
        });
      }
      return accepted(difference / Math.max(peak, Number.MIN_VALUE));
    } finally {
      await session.release();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function accepted(error: number): number {
  if (error <= EXPORT_TOLERANCE) return error;
  throw problem(
    "export_mismatch",
    `the exported model's logits differ by ${error} of the largest logit; ${EXPORT_TOLERANCE} is allowed`,
    { error: String(error), tolerance: EXPORT_TOLERANCE },
  );
}

/** [N, side, side, 3] to [N, 3, side, side]. */
function toNchw({ pixels, labels }: ImageBatch, side: number): Float32Array {
  const plane = side * side;
  const out = new Float32Array(pixels.length);
  for (let image = 0; image < labels.length; image++) {
    const start = image * 3 * plane;
    for (let at = 0; at < plane; at++) {
      for (let channel = 0; channel < 3; channel++) {
        out[start + channel * plane + at] = pixels[start + at * 3 + channel]!;
      }
    }
  }
  return out;
}
