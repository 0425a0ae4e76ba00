/** Resize, crops, flip and normalisation as torchvision does them on Pillow images. */
import type { Augment, Transform } from "@cardinal/contracts";
import { applyJitter, drawJitter } from "./color-jitter.ts";
import type { RgbImage } from "./decode.ts";
import { type Box, resample } from "./resample.ts";

/** The order of a batch's values: channels first (PyTorch, ONNX) or last (TensorFlow). */
export type TensorLayout = "nchw" | "nhwc";

/**
 * `Resize(transform.resize)` then `CenterCrop(transform.crop)`: the short side becomes `resize`, the long one
 * `int(resize * long / short)`; the crop is centred with halves rounded to even, and an image smaller than the crop is
 * padded with zeros. Gives `crop` x `crop` pixels, computing no others.
 */
export function resizeAndCrop(image: RgbImage, transform: Transform): RgbImage {
  const { resize, crop } = transform;
  const long = Math.floor((resize * Math.max(image.width, image.height)) / Math.min(image.width, image.height));
  const [width, height] = image.width <= image.height ? [resize, long] : [long, resize];
  const window = {
    left: cropStart(width, crop),
    top: cropStart(height, crop),
    width: Math.min(width, crop),
    height: Math.min(height, crop),
  };
  return padToSquare(resample(image, whole(image), width, height, window), crop);
}

/** Where a centred crop begins: `round((size - crop) / 2)` with halves to even, 0 when there is nothing to cut off. */
function cropStart(size: number, crop: number): number {
  return size <= crop ? 0 : roundHalfEven((size - crop) / 2);
}

/** Zeros around an image that is smaller than the crop, half of them (rounded down) at the left and at the top. */
function padToSquare(image: RgbImage, crop: number): RgbImage {
  if (image.width === crop && image.height === crop) return image;
  const left = Math.floor((crop - image.width) / 2);
  const top = Math.floor((crop - image.height) / 2);
  const data = new Uint8Array(crop * crop * 3);
  for (let row = 0; row < image.height; row++) {
    const pixels = image.data.subarray(row * image.width * 3, (row + 1) * image.width * 3);
    data.set(pixels, ((top + row) * crop + left) * 3);
  }
  return { width: crop, height: crop, data };
}

/** Share of the image's area that a random crop has, and its width over height: torchvision's defaults. */
const AREA = [0.08, 1] as const;
const RATIO = [3 / 4, 4 / 3] as const;

/**
 * `RandomResizedCrop(transform.crop)` and then a mirrored image with probability `augment.flip`. With
 * `augment.crop` = `center` the evaluation transform takes the place of the random crop. Then `ColorJitter`, where
 * `augment.colorJitter` asks for it. `random` gives uniform numbers in [0, 1); the same sequence gives the same image.
 */
export function randomResizedCrop(
  image: RgbImage,
  transform: Transform,
  augment: Augment,
  random: () => number,
): RgbImage {
  const { crop } = transform;
  const target = { left: 0, top: 0, width: crop, height: crop };
  const result =
    augment.crop === "center"
      ? resizeAndCrop(image, transform)
      : resample(image, randomBox(image, random), crop, crop, target);
  if (random() < augment.flip) mirror(result);
  if (augment.colorJitter) applyJitter(result, drawJitter(augment.colorJitter, random));
  return result;
}

/** The box of torchvision's `RandomResizedCrop.get_params`: ten tries, else a central box with its ratio clamped. */
export function randomBox(image: { width: number; height: number }, random: () => number): Box {
  const { width, height } = image;
  const uniform = (from: number, to: number) => from + (to - from) * random();
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = width * height * uniform(AREA[0], AREA[1]);
    const ratio = Math.exp(uniform(Math.log(RATIO[0]), Math.log(RATIO[1])));
    const w = roundHalfEven(Math.sqrt(area * ratio));
    const h = roundHalfEven(Math.sqrt(area / ratio));
    if (w > 0 && w <= width && h > 0 && h <= height) {
      const top = Math.floor(random() * (height - h + 1));
      const left = Math.floor(random() * (width - w + 1));
      return { left, top, width: w, height: h };
    }
  }
  return centralBox(width, height);
}

function centralBox(width: number, height: number): Box {
  const ratio = width / height;
  const w = ratio > RATIO[1] ? roundHalfEven(height * RATIO[1]) : width;
  const h = ratio < RATIO[0] ? roundHalfEven(width / RATIO[0]) : height;
  return { left: Math.floor((width - w) / 2), top: Math.floor((height - h) / 2), width: w, height: h };
}

/** Mirrors an image left to right, in place. */
function mirror(image: RgbImage): void {
  const { width, height, data } = image;
  for (let row = 0; row < height; row++) {
    for (let a = row * width * 3, b = ((row + 1) * width - 1) * 3; a < b; a += 3, b -= 3) {
      for (let channel = 0; channel < 3; channel++) {
        const value = data[a + channel]!;
        data[a + channel] = data[b + channel]!;
        data[b + channel] = value;
      }
    }
  }
}

/**
 * Writes `(x / 255 - mean) / std`, each step rounded to 32 bits as PyTorch does, to `out` from `offset`:
 * `3 * width * height` values, channel planes (`nchw`) or interleaved (`nhwc`).
 */
export function normalizeInto(
  image: RgbImage,
  transform: Transform,
  layout: TensorLayout,
  out: Float32Array,
  offset: number,
): void {
  const { data } = image;
  const pixels = image.width * image.height;
  if (offset < 0 || offset + 3 * pixels > out.length) {
    throw new RangeError(`${3 * pixels} values from ${offset} do not fit in ${out.length}`);
  }
  const [pixelStep, channelStep] = layout === "nchw" ? [1, pixels] : [3, 1];
  const [red, green, blue] = [0, 1, 2].map((channel) => levels(transform.mean[channel]!, transform.std[channel]!));
  for (let from = 0, to = offset; from < data.length; from += 3, to += pixelStep) {
    out[to] = red![data[from]!]!;
    out[to + channelStep] = green![data[from + 1]!]!;
    out[to + 2 * channelStep] = blue![data[from + 2]!]!;
  }
}

/** The 256 values that a channel can have. */
function levels(mean: number, std: number): Float32Array {
  const key = `${mean} ${std}`;
  let table = tables.get(key);
  if (!table) {
    const round = Math.fround;
    table = Float32Array.from({ length: 256 }, (_, x) => round(round(x / 255) - round(mean)) / round(std));
    if (tables.size >= 64) tables.clear(); // a process sees a handful of transforms
    tables.set(key, table);
  }
  return table;
}

const tables = new Map<string, Float32Array>();

const whole = (image: RgbImage): Box => ({ left: 0, top: 0, width: image.width, height: image.height });

/** Python's `round()`: halves go to the even neighbour. For numbers >= 0. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
