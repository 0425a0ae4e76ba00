/**
 * Pillow's bilinear resize of 8-bit images, to the bit (`src/libImaging/Resample.c`): a triangle filter whose support
 * grows with the down-scale factor, first along rows, then along columns, rounded to 8 bits in between, with
 * coefficients in 22-bit fixed point (32 bits less 8 of the pixel and 2 of headroom).
 *
 * Only what a window of the result needs is computed: the rows and columns of the input that it touches. So the cost
 * of a centre crop of a 1 x 60,000 image, whose full resize would have 256 x 15 million pixels, is that of the crop.
 *
 * The two passes are vector code, see resample.wat: four times as quick as the same loops in JavaScript.
 */
import type { RgbImage } from "./decode.ts";
import { resampleKernel } from "./resample-kernel.ts";

export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

/**
 * Resizes the `source` box of an image to `width` x `height` and gives the `window` box of that result. The pixels
 * outside of `source` do not count, as if it had been cropped first.
 */
export function resample(image: RgbImage, source: Box, width: number, height: number, window: Box): RgbImage {
  const columns = coefficients(source.width, width, window.left, window.width);
  const rows = coefficients(source.height, height, window.top, window.height);
  const touched = {
    left: source.left + columns.first,
    top: source.top + rows.first,
    width: columns.inputs,
    height: rows.inputs,
  };
  return { width: window.width, height: window.height, data: resampleKernel(image, touched, columns, rows) };
}

/** How the pixels of a line of a window come from those of the input. */
export interface Coefficients {
  /** The first input pixel that counts, and the number of pixels from there to the last one. */
  first: number;
  inputs: number;
  /** For each output position: where its inputs start, counted from `first`. */
  starts: Int32Array;
  /** `taps` weights for each position, the rest zero. */
  weights: Int32Array;
  /** The largest number of inputs that a position has. */
  taps: number;
}

const PRECISION_BITS = 22;

/** Weights of output positions `first` to `first + count - 1` when `inSize` pixels become `outSize`. */
function coefficients(inSize: number, outSize: number, first: number, count: number): Coefficients {
  const scale = inSize / outSize;
  const support = Math.max(scale, 1);
  const mostTaps = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(count);
  const sparse = new Int32Array(count * mostTaps);
  const exact = new Float64Array(mostTaps);
  let taps = 1;
  let last = 0;
  for (let i = 0; i < count; i++) {
    const center = (first + i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(inSize, Math.trunc(center + support + 0.5));
    let sum = 0;
    for (let x = start; x < end; x++) {
      const distance = Math.abs((x - center + 0.5) * (1 / support));
      exact[x - start] = distance < 1 ? 1 - distance : 0;
      sum += exact[x - start]!;
    }
    let used = end - start;
    for (let x = 0; x < used; x++) {
      sparse[i * mostTaps + x] = Math.trunc(0.5 + (exact[x]! / sum) * (1 << PRECISION_BITS));
    }
    while (used > 1 && sparse[i * mostTaps + used - 1] === 0) used--; // the triangle's end: a tap that adds nothing
    starts[i] = start;
    taps = Math.max(taps, used);
    last = Math.max(last, start + used);
  }
  const weights = new Int32Array(count * taps);
  for (let i = 0; i < count; i++) weights.set(sparse.subarray(i * mostTaps, i * mostTaps + taps), i * taps);
  const offset = starts[0]!;
  return { first: offset, inputs: last - offset, starts: starts.map((start) => start - offset), weights, taps };
}
