/** The deterministic parameters and inputs of goldens/make.py, and its files. */
import { readFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import { type Architecture, type ParameterSpec, type ParameterTensor, parameterSpecs } from "@cardinal/resnext";

/** [0, 1): a Weyl sequence from crc32(name) through MurmurHash3's 32-bit finaliser, its upper 24 bits. */
function uniform(name: string, count: number, each: (u: number, index: number) => void): void {
  const start = crc32(name);
  for (let index = 0; index < count; index++) {
    let word = (start + Math.imul(index + 1, 0x9e3779b9)) >>> 0;
    word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
    word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
    word ^= word >>> 16;
    each((word >>> 8) / 2 ** 24, index);
  }
}

function goldenTensor({ name, shape, kind }: ParameterSpec): ParameterTensor {
  if (kind === "num_batches_tracked") return { shape, data: new BigInt64Array(1) };
  const scale = kind === "conv weight" ? Math.sqrt(6 / (shape[0]! * shape[2]! * shape[3]!)) : 0.2;
  const offset = kind === "running_var" || kind === "bn weight";
  const data = new Float32Array(shape.reduce((product, side) => product * side, 1));
  uniform(name, data.length, (u, index) => {
    data[index] = offset ? 0.5 + u : (2 * u - 1) * scale;
  });
  return { shape, data };
}

export function goldenParameters(arch: Architecture, numClasses: number): Map<string, ParameterTensor> {
  return new Map(parameterSpecs(arch, numClasses).map((spec) => [spec.name, goldenTensor(spec)]));
}

/** Moves biases of BatchNorms by k/256, an int8 k for each channel: see bottlenecks() in make.py. */
export function moveBiases(parameters: Map<string, ParameterTensor>, moved: Record<string, string>): void {
  for (const [bn, base64] of Object.entries(moved)) {
    const { shape, data } = parameters.get(`${bn}.bias`)!;
    const steps = new Int8Array(Buffer.from(base64, "base64"));
    parameters.set(`${bn}.bias`, { shape, data: Float32Array.from(steps, (k, at) => Number(data[at]) + k / 256) });
  }
}

/** NCHW. Smaller batches are the beginning of larger ones. */
export function goldenImages(batch: number, side: number): Float32Array {
  const data = new Float32Array(batch * 3 * side * side);
  uniform("input", data.length, (u, index) => {
    data[index] = 4 * u - 2;
  });
  return data;
}

/** 0, 1, 2, ..., over and over. */
export function goldenLabels(batch: number, numClasses: number): Int32Array {
  return Int32Array.from({ length: batch }, (_, index) => index % numClasses);
}

export function toNhwc(data: Float32Array, batch: number, side: number): Float32Array {
  const area = side * side;
  const out = new Float32Array(data.length);
  for (let n = 0; n < batch; n++) {
    for (let at = 0; at < area; at++) {
      for (let c = 0; c < 3; c++) out[(n * area + at) * 3 + c] = data[(n * 3 + c) * area + at]!;
    }
  }
  return out;
}

export interface Packed {
  shape: number[];
  data: string;
}

/** A larger tensor by its largest value, its norm, and the values at samplePositions (all of a small one). */
export interface Digest {
  shape: number[];
  largest: number;
  norm: number;
  samples: string;
}

/** Logits in evaluation of images of that side: 8 rows, of which smaller batches are the first. */
export interface ForwardGolden {
  side: number;
  numClasses: number;
  eval: Packed;
}

export interface TinyGolden extends ForwardGolden {
  architecture: Architecture;
  /** Of the training step. */
  batch: number;
  keys: string[];
  learningRate: number;
  train: { loss: number; logits: Packed; gradients: Record<string, Packed>; statistics: Record<string, Packed> };
  /** By the first stage that learns. */
  frozen: Record<string, { loss: number; gradients: Record<string, Digest> }>;
  optimizers: Record<string, { parameters: Record<string, Digest>; statistics: Record<string, Digest> }>;
}

export const tinyNames = ["tiny-odd", "tiny-even", "tiny-basic"] as const;

export function readGolden<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../goldens/${name}.json`, import.meta.url), "utf8")) as T;
}

function decodeFloats(base64: string): Float32Array {
  return new Float32Array(Uint8Array.from(Buffer.from(base64, "base64")).buffer);
}

export function unpack({ data }: Packed): Float32Array {
  return decodeFloats(data);
}

/** Where the samples of a tensor of `size` values lie. */
export function samplePositions(name: string, size: number, samples: number): number[] {
  const positions = Array.from({ length: samples }, (_, index) => index);
  if (size === samples) return positions;
  uniform(`sample ${name}`, samples, (u, index) => {
    positions[index] = Math.floor(u * size);
  });
  return positions;
}

/**
 * Largest difference of the samples, of the largest value and of the norm, each relative to what it should be (the
 * samples to the largest value). Only samples at positions for which `counts` is true; unless given all, and only
 * then largest value and norm, which are of all values.
 */
export function digestError(
  name: string,
  actual: Float32Array,
  { shape, largest, norm, samples }: Digest,
  counts?: (position: number) => boolean,
): number {
  const size = shape.reduce((product, side) => product * side, 1);
  if (actual.length !== size) throw new RangeError(`${name} has ${actual.length} values, expected [${shape}]`);
  const expected = decodeFloats(samples);
  const errors = samplePositions(name, size, expected.length).map((position, index) => {
    if (counts && !counts(position)) return 0;
    return Math.abs(actual[position]! - expected[index]!) / largest;
  });
  if (!counts) {
    const peak = actual.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const length = Math.sqrt(actual.reduce((sum, value) => sum + value * value, 0));
    errors.push(Math.abs(peak / largest - 1), Math.abs(length / norm - 1));
  }
  return Math.max(...errors); // NaN as soon as one is
}

/** Largest difference relative to the largest expected value. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) throw new RangeError(`${actual.length} values, expected ${expected.length}`);
  let difference = 0;
  let largest = 0;
  for (let index = 0; index < expected.length; index++) {
    difference = Math.max(difference, Math.abs(actual[index]! - expected[index]!)); // NaN from the first NaN on
    largest = Math.max(largest, Math.abs(expected[index]!));
  }
  return difference / largest;
}
