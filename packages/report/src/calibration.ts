/**
 * Whether a network is right as often as it is sure: expected calibration error and the data of a reliability diagram,
 * Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks", section 2.
 */
import type { Calibration } from "@cardinal/contracts";

/** As many as in the paper's tables. */
export const CALIBRATION_BINS = 15;

/** Sums by bin: memory does not grow with the images. */
export class CalibrationSum {
  readonly #bins = Array.from({ length: CALIBRATION_BINS }, () => ({ images: 0, confidence: 0, right: 0 }));

  /** `confidence`: probability of the predicted class, in 0..1. */
  add(confidence: number, isRight: boolean): void {
    const index = Math.min(CALIBRATION_BINS - 1, Math.max(0, Math.ceil(confidence * CALIBRATION_BINS) - 1));
    const bin = this.#bins[index]!;
    bin.images++;
    bin.confidence += confidence;
    if (isRight) bin.right++;
  }

  result(): Calibration {
    const total = this.#bins.reduce((sum, { images }) => sum + images, 0);
    const gaps = this.#bins.reduce((sum, { right, confidence }) => sum + Math.abs(right - confidence), 0);
    return {
      ece: total === 0 ? 0 : gaps / total,
      bins: this.#bins.map(({ images, confidence, right }, index) => ({
        from: index / CALIBRATION_BINS,
        to: (index + 1) / CALIBRATION_BINS,
        images,
        ...(images > 0 && { confidence: confidence / images, accuracy: right / images }),
      })),
    };
  }
}
