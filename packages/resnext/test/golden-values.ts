/** The deterministic parameters and inputs of goldens/make.py, and its files. */
import { readFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import { type Architecture, type ParameterSpec, type ParameterTensor, parameterSpecs } from "@cardinal/resnext";

/** [0, 1): a Weyl sequence from crc32(name) through MurmurHash3's 32-bit finaliser, its upper 24 bits. */
function* uniform(name: string, count: number): Generator<number> {
  const start = crc32(name);
  for (let index = 1; index <= count; index++) {
    let word = (start + Math.imul(index, 0x9e3779b9)) >>> 0;
    word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
    word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
    word ^= word >>> 16;
    yield (word >>> 8) / 2 ** 24;
  }
}

function goldenTensor({ name, shape, kind }: ParameterSpec): ParameterTensor {
  if (kind === "num_batches_tracked") return { shape, data: new BigInt64Array(1) };
  const scale = kind === "conv weight" ? Math.sqrt(6 / (shape[0]! * shape[2]! * shape[3]!)) : 0.2;
  const offset = kind === "running_var" || kind === "bn weight";
  const data = new Float32Array(shape.reduce((product, side) => product * side, 1));
  let index = 0;
  for (const u of uniform(name, data.length)) data[index++] = offset ? 0.5 + u : (2 * u - 1) * scale;
  return { shape, data };
}

export function goldenParameters(arch: Architecture, numClasses: number): Map<string, ParameterTensor> {
  return new Map(parameterSpecs(arch, numClasses).map((spec) => [spec.name, goldenTensor(spec)]));
}

/** NCHW */
export function goldenImages(batch: number, side: number): Float32Array {
  const count = batch * 3 * side * side;
  return Float32Array.from(uniform("input", count), (u) => 4 * u - 2);
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

interface Packed {
  shape: number[];
  data: string;
}

export interface TinyGolden {
  architecture: Architecture;
  batch: number;
  side: number;
  numClasses: number;
  keys: string[];
  eval: Packed;
  learningRate: number;
  train: { loss: number; logits: Packed; gradients: Record<string, Packed>; statistics: Record<string, Packed> };
  optimizers: Record<string, Record<string, Packed>>;
}

export const tinyNames = ["tiny-odd", "tiny-even", "tiny-basic"] as const;

export function readGolden<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../goldens/${name}.json`, import.meta.url), "utf8")) as T;
}

export function unpack({ data }: Packed): Float32Array {
  return new Float32Array(Uint8Array.from(Buffer.from(data, "base64")).buffer);
}

/** Largest difference relative to the largest expected value. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) throw new RangeError(`${actual.length} values, expected ${expected.length}`);
  let difference = 0;
  let largest = 0;
  for (let index = 0; index < expected.length; index++) {
    const gap = Math.abs(actual[index]! - expected[index]!);
    if (!(gap <= difference)) difference = gap; // also when it is NaN
    largest = Math.max(largest, Math.abs(expected[index]!));
  }
  return difference / largest;
}
