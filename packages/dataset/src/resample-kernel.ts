/**
 * The memory of resample.wasm, and the calls of its two passes.
 *
 * Layout, anew for each image: the coefficients of columns and rows, then some rows of the input, then the narrow image
 * (all rows, the final width), then the result. Each but the coefficients is followed by room for the kernel's loads
 * and stores beyond the end. The input goes through in strips, so the memory, which never shrinks, is that of the
 * narrow image and the result: some 6 MB for the largest photographs.
 */
import { readFileSync } from "node:fs";
import type { RgbImage } from "./decode.ts";
import type { Box, Coefficients } from "./resample.ts";

/** What is used of WebAssembly: TypeScript has its types only among the browser's. */
declare const WebAssembly: {
  Module: new (code: Uint8Array) => object;
  Instance: new (module: object) => { exports: unknown };
};

interface Kernel {
  memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  horizontal(
    input: number,
    inStride: number,
    rows: number,
    out: number,
    width: number,
    starts: number,
    weights: number,
    taps: number,
  ): void;
  vertical(
    input: number,
    stride: number,
    out: number,
    height: number,
    starts: number,
    weights: number,
    taps: number,
  ): void;
}

const code = readFileSync(new URL("./resample.wasm", import.meta.url));
const kernel = new WebAssembly.Instance(new WebAssembly.Module(code)).exports as Kernel;

const CHANNELS = 3;
const PAGE_BYTES = 65_536;
/** Input that is copied at once; two strips fit in a core's cache beside the rest. */
const STRIP_BYTES = 131_072;
/** What a vector may reach beyond the last byte. */
const VECTOR_BYTES = 16;

/** The `touched` part of an image through both passes; interleaved RGB. */
export function resampleKernel(image: RgbImage, touched: Box, columns: Coefficients, rows: Coefficients): Uint8Array {
  const [width, height] = [columns.starts.length, rows.starts.length];
  const stride = width * CHANNELS;
  const inStride = image.width * CHANNELS;
  const span = touched.width * CHANNELS;
  const stripRows = Math.min(touched.height, Math.max(1, Math.floor(STRIP_BYTES / inStride)));
  const [columnStarts, columnWeights] = [0, columns.starts.byteLength];
  const rowStarts = columnWeights + columns.weights.byteLength;
  const rowWeights = rowStarts + rows.starts.byteLength;
  const strip = rowWeights + rows.weights.byteLength;
  const narrow = strip + (stripRows - 1) * inStride + span + columns.taps * CHANNELS + VECTOR_BYTES;
  const result = narrow + (touched.height + rows.taps) * stride + VECTOR_BYTES;
  const memory = memoryOf(result + height * stride + VECTOR_BYTES);
  new Int32Array(memory.buffer, columnStarts).set(columns.starts.map((start) => start * CHANNELS));
  new Int32Array(memory.buffer, columnWeights).set(columns.weights);
  new Int32Array(memory.buffer, rowStarts).set(rows.starts.map((start) => start * stride));
  new Int32Array(memory.buffer, rowWeights).set(rows.weights);
  for (let row = 0; row < touched.height; row += stripRows) {
    const count = Math.min(stripRows, touched.height - row);
    const from = (touched.top + row) * inStride + touched.left * CHANNELS;
    memory.set(image.data.subarray(from, from + (count - 1) * inStride + span), strip);
    const to = narrow + row * stride;
    kernel.horizontal(strip, inStride, count, to, width, columnStarts, columnWeights, columns.taps);
  }
  kernel.vertical(narrow, stride, result, height, rowStarts, rowWeights, rows.taps);
  return memory.slice(result, result + height * stride);
}

/** The kernel's memory, of at least so many bytes. */
function memoryOf(bytes: number): Uint8Array {
  const missing = bytes - kernel.memory.buffer.byteLength;
  if (missing > 0) kernel.memory.grow(Math.ceil(missing / PAGE_BYTES));
  return new Uint8Array(kernel.memory.buffer);
}
