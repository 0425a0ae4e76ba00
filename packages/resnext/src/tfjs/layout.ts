/**
 * PyTorch's axis orders in files, TensorFlow's in memory. Convolutions: OIHW to HWIO, and 1x1 ones to [in, out];
 * fc: [out, in] to [in, out]. Everything else is the same in both.
 */
import { elementCount, type ParameterSpec } from "../parameters.ts";

/** Output, input and positions (height * width) of a weight whose order differs; undefined for the others. */
function weightAxes(spec: ParameterSpec): { out: number; in: number; positions: number } | undefined {
  if (spec.kind !== "fc weight" && spec.kind !== "conv weight") return undefined;
  const [out, input, height = 1, width = 1] = spec.shape as [number, number, number?, number?];
  return { out, in: input, positions: height * width };
}

/** The shape that the tensor has in memory. */
export function nativeShape(spec: ParameterSpec): number[] {
  const axes = weightAxes(spec);
  if (!axes) return [...spec.shape];
  return axes.positions === 1 ? [axes.in, axes.out] : [spec.shape[2]!, spec.shape[3]!, axes.in, axes.out];
}

/** From PyTorch's order to the one in memory; always a new array. */
export function toNative(spec: ParameterSpec, data: Float32Array): Float32Array {
  return reordered(spec, data, (torch, native, target) => {
    target[native] = data[torch]!;
  });
}

/** From the order in memory to PyTorch's; always a new array. */
export function fromNative(spec: ParameterSpec, data: Float32Array): Float32Array {
  return reordered(spec, data, (torch, native, target) => {
    target[torch] = data[native]!;
  });
}

type Move = (torch: number, native: number, target: Float32Array) => void;

function reordered(spec: ParameterSpec, data: Float32Array, move: Move): Float32Array {
  const axes = weightAxes(spec);
  if (!axes) return data.slice();
  const target = new Float32Array(elementCount(spec.shape));
  let torch = 0;
  for (let out = 0; out < axes.out; out++) {
    for (let input = 0; input < axes.in; input++) {
      for (let position = 0; position < axes.positions; position++) {
        move(torch++, (position * axes.in + input) * axes.out + out, target);
      }
    }
  }
  return target;
}
