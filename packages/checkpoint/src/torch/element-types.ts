/** The element types that weights have, and their conversion to float32 (int64 stays). Little-endian machines only. */
import type { Tensor } from "../safetensors.ts";
import type { ElementType } from "./pickle-values.ts";

type Write = (from: number, to: number) => void;
/** Makes a function that converts the source's element `from` to the target's element `to`. */
type MakeWriter = (source: Uint8Array<ArrayBuffer>, target: ArrayBuffer) => Write;

export const readableTypes = {
  float32(source, target) {
    const [from, to] = [view(Uint32Array, source), new Uint32Array(target)];
    return (a, b) => {
      to[b] = from[a]!;
    };
  },
  float16(source, target) {
    const [from, to] = [view(Uint16Array, source), new Uint32Array(target)];
    const bits = halfBits();
    return (a, b) => {
      to[b] = bits[from[a]!]!;
    };
  },
  bfloat16(source, target) {
    const [from, to] = [view(Uint16Array, source), new Uint32Array(target)];
    return (a, b) => {
      to[b] = from[a]! << 16; // bfloat16 is the upper half of a float32
    };
  },
  float64(source, target) {
    const [from, to] = [view(Float64Array, source), new Float32Array(target)];
    return (a, b) => {
      to[b] = from[a]!;
    };
  },
  int64(source, target) {
    const [from, to] = [view(BigInt64Array, source), new BigInt64Array(target)];
    return (a, b) => {
      to[b] = from[a]!;
    };
  },
} satisfies Partial<Record<ElementType, MakeWriter>>;

export type ReadableType = keyof typeof readableTypes;

export function isReadable(type: ElementType): type is ReadableType {
  return Object.hasOwn(readableTypes, type);
}

/** A function that converts the source's element at its first index into the target's at its second. */
export function elementWriter(type: ReadableType, source: Uint8Array<ArrayBuffer>, target: Tensor["data"]): Write {
  return readableTypes[type](source, target.buffer as ArrayBuffer);
}

interface ElementArray<T> {
  new (buffer: ArrayBuffer, start: number, length: number): T;
  readonly BYTES_PER_ELEMENT: number;
}

function view<T>(array: ElementArray<T>, { buffer, byteOffset, length }: Uint8Array<ArrayBuffer>): T {
  return new array(buffer, byteOffset, length / array.BYTES_PER_ELEMENT);
}

let halves: Uint32Array | undefined;

/** The bits of the float32 for each of the 65,536 float16: 1 sign bit, 5 exponent bits (bias 15), 10 of fraction. */
function halfBits(): Uint32Array {
  if (halves !== undefined) return halves;
  const values = new Float32Array(2 ** 16);
  const bits = new Uint32Array(values.buffer);
  for (let half = 0; half < 2 ** 16; half++) {
    const sign = half >> 15 === 0 ? 1 : -1;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 0) values[half] = sign * fraction * 2 ** -24;
    else if (exponent < 31) values[half] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
    else bits[half] = ((half >> 15) << 31) | 0x7f800000 | (fraction << 13); // infinities, NaN with its payload
  }
  halves = bits;
  return halves;
}
