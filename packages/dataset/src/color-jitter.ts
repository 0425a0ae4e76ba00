/**
 * torchvision's ColorJitter on Pillow images, byte for byte: brightness, contrast, saturation and hue in random order.
 *
 * Pillow blends in 32-bit floats and cuts off what is behind the point (src/libImaging/Blend.c); grey is its L24
 * integer formula, hue goes through 8-bit HSV (rgb2hsv and hsv2rgb of src/libImaging/Convert.c, after Python's
 * colorsys).
 */
import type { Augment } from "@cardinal/contracts";
import type { RgbImage } from "./decode.ts";
import { shuffled } from "./random.ts";

export interface JitterDraw {
  /** The order of the four: 0 brightness, 1 contrast, 2 saturation, 3 hue. */
  order: ArrayLike<number>;
  /** Factors, 1 changes nothing; the hue is a part of the circle, from -0.5 to 0.5. Absent: not changed. */
  brightness?: number | undefined;
  contrast?: number | undefined;
  saturation?: number | undefined;
  hue?: number | undefined;
}

/**
 * ColorJitter.get_params: factors evenly from [max(0, 1 - x), 1 + x], the hue from [-x, x]. What has no strength draws
 * nothing.
 */
export function drawJitter(jitter: NonNullable<Augment["colorJitter"]>, random: () => number): JitterDraw {
  const order = shuffled(4, random);
  const uniform = (low: number, high: number) => low + (high - low) * random();
  const factor = (strength: number) => (strength === 0 ? undefined : uniform(Math.max(0, 1 - strength), 1 + strength));
  const [brightness, contrast, saturation] = [jitter.brightness, jitter.contrast, jitter.saturation].map(factor);
  const hue = jitter.hue === 0 ? undefined : uniform(-jitter.hue, jitter.hue);
  return { order, brightness, contrast, saturation, hue };
}

/** Changes the image in place. */
export function applyJitter({ data }: RgbImage, draw: JitterDraw): void {
  for (let at = 0; at < 4; at++) {
    const which = draw.order[at];
    if (which === 0 && draw.brightness !== undefined) blendWithGrey(data, 0, draw.brightness);
    if (which === 1 && draw.contrast !== undefined) blendWithGrey(data, meanGrey(data), draw.contrast);
    if (which === 2 && draw.saturation !== undefined) saturate(data, draw.saturation);
    if (which === 3 && draw.hue !== undefined) turnHue(data, draw.hue);
  }
}

/** Image.blend of two bytes: from `from` towards `to`, or beyond it. `factor` is a 32-bit float. */
function blend(from: number, to: number, factor: number): number {
  const value = Math.fround(from + Math.fround(factor * (to - from)));
  return value <= 0 ? 0 : value >= 255 ? 255 : Math.trunc(value);
}

function blendWithGrey(data: Uint8Array, grey: number, strength: number): void {
  const factor = Math.fround(strength);
  const table = Uint8Array.from({ length: 256 }, (_, value) => blend(grey, value, factor));
  for (let at = 0; at < data.length; at++) data[at] = table[data[at]!]!;
}

/** Pillow's convert("L"): ITU-R 601-2 luma in 16-bit fixed point, rounded. */
const greyOf = (red: number, green: number, blue: number): number =>
  (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;

function meanGrey(data: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < data.length; at += 3) sum += greyOf(data[at]!, data[at + 1]!, data[at + 2]!);
  return Math.trunc(sum / (data.length / 3) + 0.5);
}

function saturate(data: Uint8Array, strength: number): void {
  const factor = Math.fround(strength);
  for (let at = 0; at < data.length; at += 3) {
    const grey = greyOf(data[at]!, data[at + 1]!, data[at + 2]!);
    for (let channel = at; channel < at + 3; channel++) data[channel] = blend(grey, data[channel]!, factor);
  }
}

function turnHue(data: Uint8Array, turn: number): void {
  const shift = Math.trunc(turn * 255);
  for (let at = 0; at < data.length; at += 3) {
    const [red, green, blue] = [data[at]!, data[at + 1]!, data[at + 2]!];
    const value = Math.max(red, green, blue);
    const range = value - Math.min(red, green, blue);
    if (range === 0) continue; // grey: its hue is 0, its saturation too
    const saturation = Math.trunc(Math.fround(Math.fround(range / value)) * 255);
    if (saturation === 0) {
      data.fill(value, at, at + 3);
      continue;
    }
    writeHsv(data, at, (hueOf(red, green, blue, value, range) + shift) & 255, saturation, value);
  }
}

/** From 0 to 255; each step in the precision that the C code has. */
function hueOf(red: number, green: number, blue: number, value: number, range: number): number {
  const round = Math.fround;
  const [r, g, b] = [round((value - red) / range), round((value - green) / range), round((value - blue) / range)];
  const sextant = round(red === value ? round(b - g) : green === value ? 2 + r - b : 4 + g - r);
  return Math.trunc(round((sextant / 6 + 1) % 1) * 255);
}

function writeHsv(data: Uint8Array, at: number, hue: number, saturation: number, value: number): void {
  const sextant = Math.floor((hue * 6) / 255);
  const rest = Math.fround((hue * 6) / 255 - sextant);
  const share = Math.fround(saturation / 255);
  const p = Math.round(value * (1 - share));
  const q = Math.round(value * (1 - Math.fround(share * rest)));
  const t = Math.round(value * (1 - share * (1 - rest)));
  const colours = [
    [value, t, p],
    [q, value, p],
    [p, value, t],
    [p, q, value],
    [t, p, value],
    [value, p, q],
  ];
  data.set(colours[sextant % 6]!, at);
}
