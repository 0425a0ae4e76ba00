import assert from "node:assert/strict";
import { test } from "node:test";
import { augmentSchema, IMAGENET_MEAN, IMAGENET_STD, type Transform } from "@cardinal/contracts";
import { applyJitter, drawJitter } from "../src/color-jitter.ts";
import { randomResizedCrop, seededRandom } from "../src/index.ts";
import { assertGolden, goldens } from "./goldens.ts";
import { noise } from "./noise.ts";

for (const [index, golden] of goldens.jittered.entries()) {
  const { width, height, order, brightness, contrast, saturation, hue } = golden;
  const factors = Object.entries({ brightness, contrast, saturation, hue }).filter(([, value]) => value !== undefined);
  const title = factors.map(([name, value]) => `${name} ${value!.toFixed(3)}`).join(", ");
  test(`ColorJitter ${index}, order ${[...(order as number[])]}: ${title || "nothing"} equals torchvision's`, () => {
    const image = noise(width, height);
    applyJitter(image, golden);
    assertGolden(image, golden);
  });
}

test("draws lie in torchvision's ranges and reach their ends, in every order; what has no strength is left alone", () => {
  const random = seededRandom(3);
  const draws = Array.from({ length: 2000 }, () =>
    drawJitter({ brightness: 0.4, contrast: 2, saturation: 0, hue: 0.1 }, random),
  );
  assert.equal(new Set(draws.map(({ order }) => Array.from(order).join())).size, 24);
  const ends = (name: "brightness" | "contrast" | "hue") => {
    const values = draws.map((draw) => draw[name]!);
    return [Math.min(...values), Math.max(...values)] as const;
  };
  for (const [name, low, high] of [
    ["brightness", 0.6, 1.4],
    ["contrast", 0, 3],
    ["hue", -0.1, 0.1],
  ] as const) {
    const [least, most] = ends(name);
    const margin = (high - low) / 100;
    assert.ok(least >= low && least < low + margin && most <= high && most > high - margin, `${name} ${least} ${most}`);
  }
  assert.ok(draws.every(({ saturation }) => saturation === undefined));
});

test("jitter comes after crop and flip, from the same stream of numbers", () => {
  const transform: Transform = {
    resize: 32,
    crop: 28,
    mean: [...IMAGENET_MEAN],
    std: [...IMAGENET_STD],
    exif: "ignore",
  };
  for (const crop of ["center", "random-resized"]) {
    const plain = augmentSchema.parse({ crop });
    const colorJitter = { brightness: 0.5, contrast: 0.5, saturation: 0.5, hue: 0.1 };
    const jittered = augmentSchema.parse({ crop, colorJitter });
    const random = seededRandom(1, 2);
    const expected = randomResizedCrop(noise(60, 50), transform, plain, random);
    applyJitter(expected, drawJitter(colorJitter, random));
    const found = randomResizedCrop(noise(60, 50), transform, jittered, seededRandom(1, 2));
    assert.deepEqual(found, expected);
    assert.notDeepEqual(found, randomResizedCrop(noise(60, 50), transform, plain, seededRandom(1, 2)));
  }
});
