/** The same ResNeXt-50 and the same batch for all contestants: seeded, through files. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { encodeSafetensors } from "@cardinal/checkpoint";
import { architecture, initParameters, Random } from "@cardinal/resnext";

export const network = architecture("resnext50_32x4d");
export const CLASSES = 5;
export const BATCH = 16;
export const SIDE = 224;
export const LEARNING_RATE = 3e-6;
const SEED = 1;

export interface StartFiles {
  /** The fresh network as a state_dict. */
  weights: string;
  /** Normalised images, float32 [BATCH, 3, SIDE, SIDE]. Image i has the label i % CLASSES. */
  images: string;
}

export function writeStart(folder: string): StartFiles {
  const files = { weights: path.join(folder, "weights.safetensors"), images: path.join(folder, "images.f32") };
  writeFileSync(files.weights, encodeSafetensors(freshParameters()));
  const random = new Random(SEED + 1);
  const images = Float32Array.from({ length: BATCH * 3 * SIDE * SIDE }, () => random.normal());
  writeFileSync(files.images, new Uint8Array(images.buffer));
  return files;
}

export function freshParameters() {
  return initParameters(network, CLASSES, SEED);
}

export function labels(): Int32Array {
  return Int32Array.from({ length: BATCH }, (_, image) => image % CLASSES);
}

/** The images of the file in the order that TensorFlow takes: [BATCH, SIDE, SIDE, 3]. */
export function readImages(file: string): Float32Array {
  const bytes = readFileSync(file);
  const planes = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const area = SIDE * SIDE;
  return Float32Array.from(planes, (_, index) => {
    const [image, pixel, channel] = [Math.floor(index / (3 * area)), Math.floor(index / 3) % area, index % 3];
    return planes[(image * 3 + channel) * area + pixel]!;
  });
}
