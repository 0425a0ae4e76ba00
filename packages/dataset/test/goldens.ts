import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { JitterDraw } from "../src/color-jitter.ts";
import type { RgbImage } from "../src/index.ts";

interface Golden {
  width: number;
  height: number;
  sha256: string;
  /** Every `step`th byte, 16 at most. */
  samples: number[];
  step: number;
}

type BoxGolden = { width: number; height: number; top: number; left: number; boxHeight: number; boxWidth: number };

interface Goldens {
  transforms: (Golden & { resize: number; crop: number })[];
  resizedCrops: (Golden & BoxGolden & { size: number })[];
  jittered: (Golden & JitterDraw)[];
  fallbackBoxes: BoxGolden[];
  normalized: { mean: [number, number, number]; std: [number, number, number]; nchwFloat32: string };
  decoded: (Golden & { name: string; file: string })[];
}

/** What Pillow and torchvision answer; made by goldens/make.py. */
export const goldens: Goldens = JSON.parse(
  readFileSync(new URL("../goldens/goldens.json", import.meta.url), "utf8"),
) as Goldens;

/** Asserts that an image is the golden one to the bit; the samples come first because they show how far off it is. */
export function assertGolden(image: RgbImage, golden: Golden): void {
  const samples = [...image.data].filter((_, i) => i % golden.step === 0).slice(0, 16);
  assert.deepEqual(samples, golden.samples);
  assert.equal(createHash("sha256").update(image.data).digest("hex"), golden.sha256);
}
