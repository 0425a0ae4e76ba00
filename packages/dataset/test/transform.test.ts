import assert from "node:assert/strict";
import { test } from "node:test";
import { IMAGENET_MEAN, IMAGENET_STD, type Transform } from "@cardinal/contracts";
import { normalizeInto, randomResizedCrop, resizeAndCrop, seededRandom } from "../src/index.ts";
import { resample } from "../src/resample.ts";
import { randomBox, roundHalfEven } from "../src/transform.ts";
import { assertGolden, goldens } from "./goldens.ts";
import { noise } from "./noise.ts";

const transform = (resize: number, crop: number): Transform => ({
  resize,
  crop,
  mean: [...IMAGENET_MEAN],
  std: [...IMAGENET_STD],
  exif: "ignore",
});

for (const golden of goldens.transforms) {
  const { width, height, resize, crop } = golden;
  test(`Resize(${resize}) and CenterCrop(${crop}) of ${width}x${height} equal Pillow's`, () => {
    const result = resizeAndCrop(noise(width, height), transform(resize, crop));
    assert.deepEqual([result.width, result.height], [crop, crop]);
    assertGolden(result, golden);
  });
}

for (const golden of goldens.resizedCrops) {
  test(`resized_crop of ${golden.width}x${golden.height} to ${golden.size} equals Pillow's`, () => {
    const { left, top, boxWidth, boxHeight, size } = golden;
    const box = { left, top, width: boxWidth, height: boxHeight };
    const image = noise(golden.width, golden.height);
    assertGolden(resample(image, box, size, size, { left: 0, top: 0, width: size, height: size }), golden);
  });
}

test("an image of the final size passes unchanged", () => {
  const image = noise(28, 28);
  assert.deepEqual(resizeAndCrop(image, transform(28, 28)).data, image.data);
});

test("a crop of 50 million pixels in one column costs its window only", () => {
  const tall = { width: 1, height: 50_000_000, data: new Uint8Array(150_000_000).fill(7) };
  const before = process.memoryUsage.rss();
  const result = resizeAndCrop(tall, transform(256, 224));
  assert.ok(result.data.every((value) => value === 7));
  assert.ok(process.memoryUsage.rss() - before < 20e6, "more than 20 MB for one crop");
});

test("halves are rounded to even, as Python's round() does", () => {
  assert.deepEqual([0.5, 1.5, 16.5, 58.5, 79.5, 0.49, 2.51].map(roundHalfEven), [0, 2, 16, 58, 80, 0, 3]);
});

test("normalisation equals torchvision's float by float in both layouts", () => {
  const { mean, std, nchwFloat32 } = goldens.normalized;
  const bytes = Buffer.from(nchwFloat32, "base64");
  const expected = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const data = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
  const image = { width: 16, height: 16, data };
  const recipe: Transform = { ...transform(16, 16), mean, std };
  const nchw = new Float32Array(768 + 5);
  normalizeInto(image, recipe, "nchw", nchw, 5);
  assert.deepEqual(nchw.subarray(5), expected);
  assert.deepEqual([...nchw.subarray(0, 5)], [0, 0, 0, 0, 0]);
  const nhwc = new Float32Array(768);
  normalizeInto(image, recipe, "nhwc", nhwc, 0);
  for (let pixel = 0; pixel < 256; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      assert.equal(nhwc[pixel * 3 + channel], expected[channel * 256 + pixel]);
    }
  }
});

test("(255, 0, 128) normalises to (2.2489083, -2.0357141, 0.4264926)", () => {
  const out = new Float32Array(3);
  normalizeInto({ width: 1, height: 1, data: Uint8Array.of(255, 0, 128) }, transform(1, 1), "nhwc", out, 0);
  const expected = [2.2489083, -2.0357141, 0.4264926];
  assert.ok(expected.every((value, i) => Math.abs(value - out[i]!) < 1e-7));
});

test("a tensor that does not fit is refused", () => {
  assert.throws(() => normalizeInto(noise(4, 4), transform(4, 4), "nchw", new Float32Array(48), 1), RangeError);
});

for (const golden of goldens.fallbackBoxes) {
  test(`the random crop of ${golden.width}x${golden.height} falls back to torchvision's central box`, () => {
    const box = randomBox(golden, seededRandom(1));
    assert.deepEqual(box, {
      left: golden.left,
      top: golden.top,
      width: golden.boxWidth,
      height: golden.boxHeight,
    });
  });
}

test("random boxes have areas of 8 to 100 percent, ratios of 3/4 to 4/3, and lie inside", () => {
  const random = seededRandom(5);
  let area = 0;
  const n = 4000;
  for (let i = 0; i < n; i++) {
    const box = randomBox({ width: 500, height: 375 }, random);
    assert.ok(box.left >= 0 && box.top >= 0 && box.left + box.width <= 500 && box.top + box.height <= 375);
    assert.ok(Math.abs(Math.log(box.width / box.height)) < Math.log(4 / 3) + 0.02);
    area += (box.width * box.height) / (500 * 375) / n;
  }
  // Tries whose box does not fit are drawn again, so the mean lies below the .54 of the uniform law.
  assert.ok(area > 0.42 && area < 0.54, `mean area ${area}`);
});

test("augmentation: the same source gives the same image, flips follow their probability", () => {
  const image = noise(60, 50);
  const recipe = transform(32, 28);
  const crop = (flip: number, seed: number, kind: "center" | "random-resized" = "random-resized") =>
    randomResizedCrop(image, recipe, { crop: kind, flip }, seededRandom(seed)).data;
  assert.deepEqual(crop(0.5, 3), crop(0.5, 3));
  assert.notDeepEqual(crop(0.5, 3), crop(0.5, 4));
  const plain = crop(0, 9, "center");
  assert.deepEqual(plain, resizeAndCrop(image, recipe).data);
  const mirrored = crop(1, 9, "center");
  for (let row = 0; row < 28; row++) {
    for (let column = 0; column < 28; column++) {
      const a = (row * 28 + column) * 3;
      const b = (row * 28 + 27 - column) * 3;
      assert.deepEqual(mirrored.subarray(a, a + 3), plain.subarray(b, b + 3));
    }
  }
});
