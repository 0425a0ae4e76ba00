/**
 * Pillow's bilinear resize of 8-bit images, to the bit (`src/libImaging/Resample.c`): a triangle filter whose support
 * grows with the down-scale factor, first along rows, then along columns, rounded to 8 bits in between, with
 * coefficients in 22-bit fixed point (32 bits less 8 of the pixel and 2 of headroom).
 *
 * Only what a window of the result needs is computed: the rows and columns of the input that it touches. So the cost
 * of a centre crop of a 1 x 60,000 image, whose full resize would have 256 x 15 million pixels, is that of the crop.
 */
import type { RgbImage } from "./decode.ts";

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
  const firstRow = rows.starts[0]!;
  const last = window.height - 1;
  const rowCount = rows.starts[last]! + rows.counts[last]! - firstRow;
  const narrow = horizontal(image, source.left, source.top + firstRow, rowCount, columns);
  return { width: window.width, height: window.height, data: vertical(narrow, window.width * 3, firstRow, rows) };
}

/** For each output position of a window: where its inputs start, how many there are, and their weights. */
interface Coefficients {
  starts: Int32Array;
  counts: Int32Array;
  /** `taps` weights for each position, the rest zero. */
  weights: Int32Array;
  taps: number;
}

const PRECISION_BITS = 22;
const HALF = 1 << (PRECISION_BITS - 1);

/** Weights of output positions `first` to `first + count - 1` when `inSize` pixels become `outSize`. */
function coefficients(inSize: number, outSize: number, first: number, count: number): Coefficients {
  const scale = inSize / outSize;
  const support = Math.max(scale, 1);
  const taps = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(count);
  const counts = new Int32Array(count);
  const weights = new Int32Array(count * taps);
  const exact = new Float64Array(taps);
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
      weights[i * taps + x] = Math.trunc(0.5 + (exact[x]! / sum) * (1 << PRECISION_BITS));
    }
    while (used > 1 && weights[i * taps + used - 1] === 0) used--; // the triangle's end: a tap that adds nothing
    starts[i] = start;
    counts[i] = used;
  }
  return { starts, counts, weights, taps };
}

/** The row pass on `rowCount` rows from `firstRow`: an array of rows of `columns.starts.length` RGB pixels. */
function horizontal(
  image: RgbImage,
  left: number,
  firstRow: number,
  rowCount: number,
  columns: Coefficients,
): Uint8Array {
  const { data } = image;
  const { starts, counts, weights, taps } = columns;
  const width = starts.length;
  const out = new Uint8Array(rowCount * width * 3);
  for (let row = 0, to = 0; row < rowCount; row++) {
    const rowStart = ((firstRow + row) * image.width + left) * 3;
    for (let column = 0; column < width; column++, to += 3) {
      let from = rowStart + starts[column]! * 3;
      const firstWeight = column * taps;
      const end = firstWeight + counts[column]!;
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      for (let k = firstWeight; k < end; k++, from += 3) {
        const weight = weights[k]!;
        red = (red + Math.imul(data[from]!, weight)) | 0;
        green = (green + Math.imul(data[from + 1]!, weight)) | 0;
        blue = (blue + Math.imul(data[from + 2]!, weight)) | 0;
      }
      out[to] = clip(red >> PRECISION_BITS);
      out[to + 1] = clip(green >> PRECISION_BITS);
      out[to + 2] = clip(blue >> PRECISION_BITS);
    }
  }
  return out;
}

/**
 * The column pass: `data` holds rows of `stride` bytes, the first of them being input row `firstRow`. Two rows are added
 * at a time, which is a quarter faster than one.
 */
function vertical(data: Uint8Array, stride: number, firstRow: number, rows: Coefficients): Uint8Array {
  const { starts, counts, weights, taps } = rows;
  const height = starts.length;
  const out = new Uint8Array(height * stride);
  const sums = new Int32Array(stride);
  for (let row = 0; row < height; row++) {
    sums.fill(HALF);
    const count = counts[row]!;
    for (let k = 0; k < count; k += 2) {
      const upper = (starts[row]! - firstRow + k) * stride;
      const lower = k + 1 < count ? upper + stride : upper;
      const upperWeight = weights[row * taps + k]!;
      const lowerWeight = k + 1 < count ? weights[row * taps + k + 1]! : 0;
      for (let i = 0; i < stride; i++) {
        sums[i] = (sums[i]! + Math.imul(data[upper + i]!, upperWeight) + Math.imul(data[lower + i]!, lowerWeight)) | 0;
      }
    }
    const to = row * stride;
    for (let i = 0; i < stride; i++) out[to + i] = clip(sums[i]! >> PRECISION_BITS);
  }
  return out;
}

/** Rounded weights may add up to a little more than one; they are never negative, and sums stay below 2^31. */
function clip(value: number): number {
  return Math.min(value, 255);
}
