/** The same ResNeXt-50 for all contestants: seeded weights, as an ONNX file and as safetensors. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { encodeSafetensors } from "@cardinal/checkpoint";
import { architecture, initParameters, type Parameters, Random } from "@cardinal/resnext";
import { exportOnnx } from "@cardinal/resnext/onnx";

export const NETWORK = "resnext50_32x4d";
export const CLASSES = 1000;
export const SIDE = 224;
const SEED = 1;

export interface ModelFiles {
  onnx: string;
  safetensors: string;
}

export function writeModel(folder: string): ModelFiles {
  const network = architecture(NETWORK);
  const parameters = initParameters(network, CLASSES, SEED);
  settle(parameters);
  const files = { onnx: path.join(folder, "model.onnx"), safetensors: path.join(folder, "weights.safetensors") };
  writeFileSync(files.onnx, exportOnnx(network, parameters));
  writeFileSync(files.safetensors, encodeSafetensors(parameters));
  return files;
}

/**
 * Statistics and scales as if the network had been trained, and not all 0 and 1: so the comparison of logits would
 * notice a wrong use of any of them.
 */
function settle(parameters: Parameters): void {
  const random = new Random(SEED + 1);
  for (const [name, { shape, data }] of parameters) {
    const isBatchNorm = shape.length === 1 && !name.startsWith("fc.");
    if (!isBatchNorm || !(data instanceof Float32Array)) continue;
    const [low, high] = name.endsWith("weight") || name.endsWith("running_var") ? [0.5, 1.5] : [-0.2, 0.2];
    for (let i = 0; i < data.length; i++) data[i] = low + (high - low) * random.uniform();
  }
}

/** Normalised images of noise: [count, 3, 224, 224]. */
export function noiseImages(count: number): Float32Array {
  const random = new Random(SEED + 2);
  return Float32Array.from({ length: count * 3 * SIDE * SIDE }, () => random.normal());
}
