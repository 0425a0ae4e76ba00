import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { CardinalError, type ProblemCode } from "@cardinal/contracts";
import sharp from "sharp";
import { decodeImage, probeImage, resizeAndCrop } from "../src/index.ts";
import { assertGolden, goldens } from "./goldens.ts";
import { noise } from "./noise.ts";
import { png } from "./png.ts";

const decode = (bytes: Uint8Array, exif: "ignore" | "apply" = "ignore") => decodeImage(bytes, { exif });

const fails = (bytes: Uint8Array, code: ProblemCode, pattern = /./) =>
  assert.rejects(decode(bytes), (error) => {
    assert.ok(error instanceof CardinalError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, pattern);
    return true;
  });

const pixel = (image: { width: number; data: Uint8Array }, x: number, y: number) => [
  ...image.data.subarray((y * image.width + x) * 3, (y * image.width + x) * 3 + 3),
];

const photo = (width = 64, height = 48) => {
  const { data } = noise(width, height);
  return sharp(data, { raw: { width, height, channels: 3 } });
};

for (const golden of goldens.decoded) {
  test(`${golden.name} decodes as with Pillow`, async () => {
    const file = Buffer.from(golden.file, "base64");
    const image = await decode(file);
    assert.deepEqual([image.width, image.height], [golden.width, golden.height]);
    assertGolden(image, golden);
    const probe = await probeImage(file);
    assert.deepEqual(
      [probe.format, probe.width, probe.height],
      [golden.name.split(" ")[0], golden.width, golden.height],
    );
  });
}

// The corners of an image whose quarters are red, green, blue and white, clockwise from the top left: R G W B.
const CORNERS: Record<number, [string, string, string, string]> = {
  1: ["red", "green", "white", "blue"],
  2: ["green", "red", "blue", "white"],
  3: ["white", "blue", "red", "green"],
  4: ["blue", "white", "green", "red"],
  5: ["red", "blue", "white", "green"],
  6: ["blue", "red", "green", "white"],
  7: ["white", "green", "red", "blue"],
  8: ["green", "white", "blue", "red"],
};

const COLOURS = { red: [254, 0, 0], green: [0, 255, 1], blue: [0, 0, 254], white: [255, 255, 255] };

function nameOf(rgb: number[]): string | undefined {
  const near = ([, colour]: [string, number[]]) => colour.every((value, i) => Math.abs(value - rgb[i]!) < 12);
  return Object.entries(COLOURS).find(near)?.[0];
}

for (const orientation of [1, 2, 3, 4, 5, 6, 7, 8]) {
  test(`EXIF orientation ${orientation}: ignored by default, applied by policy`, async () => {
    const data = new Uint8Array(64 * 48 * 3);
    for (let y = 0; y < 48; y++) {
      for (let x = 0; x < 64; x++) {
        const colour = y < 24 ? (x < 32 ? "red" : "green") : x < 32 ? "blue" : "white";
        data.set(COLOURS[colour], (y * 64 + x) * 3);
      }
    }
    const file = await sharp(data, { raw: { width: 64, height: 48, channels: 3 } })
      .withMetadata({ orientation })
      .jpeg({ quality: 95, chromaSubsampling: "4:4:4" })
      .toBuffer();
    const corners = (image: Awaited<ReturnType<typeof decode>>) => {
      const [right, bottom] = [image.width - 4, image.height - 4];
      return [pixel(image, 3, 3), pixel(image, right, 3), pixel(image, right, bottom), pixel(image, 3, bottom)].map(
        nameOf,
      );
    };
    const ignored = await decode(file, "ignore");
    assert.deepEqual([ignored.width, ignored.height], [64, 48]);
    assert.deepEqual(corners(ignored), CORNERS[1]);
    const applied = await decode(file, "apply");
    assert.deepEqual([applied.width, applied.height], orientation > 4 ? [48, 64] : [64, 48]);
    assert.deepEqual(corners(applied), CORNERS[orientation]);
  });
}

test("16-bit grey keeps its high byte: 32768 is 128, 300 is 1", async () => {
  const image = await decode(png({ width: 2, height: 1, depth: 16, colourType: 0, rows: [[0x80, 0, 1, 44]] }));
  assert.deepEqual([...image.data], [128, 128, 128, 1, 1, 1]);
});

test("16-bit grey with alpha and 16-bit RGBA keep their high bytes", async () => {
  const la = await decode(png({ width: 1, height: 1, depth: 16, colourType: 4, rows: [[0x80, 0, 0, 0]] }));
  assert.deepEqual([...la.data], [128, 128, 128]);
  const rgba = await decode(
    png({ width: 1, height: 1, depth: 16, colourType: 6, rows: [[200, 9, 100, 9, 50, 9, 0, 0]] }),
  );
  assert.deepEqual([...rgba.data], [200, 100, 50]);
});

test("colours below alpha 0 are kept: RGBA, LA, palette with tRNS, 1 bit", async () => {
  const rgba = await decode(png({ width: 1, height: 1, depth: 8, colourType: 6, rows: [[200, 100, 50, 0]] }));
  assert.deepEqual([...rgba.data], [200, 100, 50]);
  const la = await decode(png({ width: 1, height: 1, depth: 8, colourType: 4, rows: [[77, 10]] }));
  assert.deepEqual([...la.data], [77, 77, 77]);
  const palette = { PLTE: [9, 9, 9, 200, 100, 50], tRNS: [255, 0] };
  const indexed = await decode(png({ width: 1, height: 1, depth: 8, colourType: 3, rows: [[1]], chunks: palette }));
  assert.deepEqual([...indexed.data], [200, 100, 50]);
  const bit = await decode(png({ width: 8, height: 1, depth: 1, colourType: 0, rows: [[0xff]] }));
  assert.deepEqual([...bit.data], Array(24).fill(255));
});

test("a hidden colour survives the resize", async () => {
  const size = 600;
  const rows = Array.from({ length: size }, () =>
    Array.from({ length: size }, (_, x) => [200, 100, 50, x < 300 ? 0 : 255]).flat(),
  );
  const image = await decode(png({ width: size, height: size, depth: 8, colourType: 6, rows }));
  const recipe = { resize: 256, crop: 224, mean: [0, 0, 0], std: [1, 1, 1], exif: "ignore" } as const;
  const small = resizeAndCrop(image, { ...recipe, mean: [0, 0, 0], std: [1, 1, 1] });
  assert.ok(small.data.every((value, i) => value === [200, 100, 50][i % 3]));
});

for (const format of ["gif", "webp"] as const) {
  test(`the first frame of an animated ${format} is taken`, async () => {
    const frame = (background: string) =>
      sharp({ create: { width: 20, height: 10, channels: 3, background } })
        .png()
        .toBuffer();
    const frames = await Promise.all(["#ff0000", "#00ff00", "#0000ff"].map(frame));
    const joined = sharp(frames, { join: { animated: true } });
    const file = await (format === "gif" ? joined.gif() : joined.webp({ lossless: true })).toBuffer();
    assert.equal((await sharp(file).metadata()).pages, 3);
    const image = await decode(file);
    assert.deepEqual([image.width, image.height], [20, 10]);
    assert.deepEqual(pixel(image, 5, 5), [255, 0, 0]);
  });
}

test("CMYK is never a negative: Adobe's inverted inks come out as their colours", async () => {
  const file = await sharp({ create: { width: 32, height: 32, channels: 3, background: "#ff0000" } })
    .toColourspace("cmyk")
    .jpeg({ quality: 95 })
    .toBuffer();
  assert.equal((await sharp(file).metadata()).space, "cmyk");
  const [red, green, blue] = pixel(await decode(file), 16, 16) as [number, number, number];
  assert.ok(red > 180 && green < 90 && blue < 90, `${red}, ${green}, ${blue} is not red`);
});

for (const format of ["jpeg", "png", "webp", "gif", "tiff", "avif"] as const) {
  test(`a ${format} cut at half is truncated`, async () => {
    const whole = await photo().toFormat(format).toBuffer();
    await decode(whole);
    await fails(whole.subarray(0, whole.length >> 1), "image_truncated", /ends too early, after \d+ bytes/);
    await fails(whole.subarray(0, 40), "image_truncated");
  });
}

test("a JPEG that lacks its last two bytes is truncated, baseline and progressive", async () => {
  for (const progressive of [false, true]) {
    const whole = await photo().jpeg({ progressive }).toBuffer();
    await fails(whole.subarray(0, -2), "image_truncated");
  }
});

test("the end marker of a thumbnail in the metadata does not stand for the image's", async () => {
  const whole = await photo().jpeg().toBuffer();
  const thumbnail = await photo(16, 16).jpeg().toBuffer();
  const segment = Buffer.concat([
    Buffer.from([0xff, 0xe5, (thumbnail.length + 2) >> 8, (thumbnail.length + 2) & 255]),
    thumbnail,
  ]);
  const nested = Buffer.concat([whole.subarray(0, 2), segment, whole.subarray(2)]);
  assert.equal((await decode(nested)).width, 64);
  await fails(nested.subarray(0, -2), "image_truncated");
});

test("bytes after the end of a JPEG do no harm", async () => {
  const whole = await photo().jpeg().toBuffer();
  const image = await decode(Buffer.concat([whole, Buffer.alloc(300)]));
  assert.equal(image.width, 64);
});

test("what is no image", async () => {
  await fails(new Uint8Array(0), "empty_file", /0 bytes/);
  await fails(Buffer.from("<!DOCTYPE html><html><body>404</body></html>"), "not_an_image", /<!DOCTYPE html>/);
  await fails(Buffer.from("<html><svg></svg></html>"), "not_an_image");
  await fails(Buffer.alloc(5000), "not_an_image");
  await fails(Buffer.from([0xff]), "not_an_image");
});

test("formats that are not read are named", async () => {
  const bmp = Buffer.concat([Buffer.from("BM"), Buffer.alloc(60)]);
  await fails(bmp, "unsupported_format", /BMP/);
  await fails(Buffer.from("P6\n1 1\n255\n123"), "unsupported_format", /PPM/);
  await fails(
    Buffer.from('<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'),
    "unsupported_format",
    /SVG/,
  );
  await fails(Buffer.from("%PDF-1.7"), "unsupported_format", /PDF/);
  await fails(Buffer.from("\0\0\0\x18ftypheic\0\0\0\0mif1heic", "latin1"), "unsupported_format", /HEIC/);
});

test("a damaged PNG is unreadable, not truncated", async () => {
  const whole = await photo().png().toBuffer();
  const damaged = Buffer.from(whole);
  damaged.fill(0x55, 100, 140);
  await fails(damaged, "image_unreadable", /png image cannot be decoded/);
});

test("images over the pixel limit are refused at their header", async () => {
  const idat = deflateSync(Buffer.alloc(2501).fill(0));
  const bomb = png({
    width: 20_000,
    height: 20_000,
    depth: 1,
    colourType: 0,
    idat: Buffer.concat([idat, Buffer.alloc(48_000)]),
  });
  const liar = png({ width: 60_000, height: 60_000, depth: 8, colourType: 0, idat: Buffer.alloc(12) });
  const before = process.memoryUsage.rss();
  await fails(bomb, "image_too_large", /20000 x 20000 pixels; the limit is 50000000/);
  await fails(liar, "image_too_large", /60000 x 60000/);
  await assert.rejects(probeImage(liar), { code: "image_too_large" });
  assert.ok(process.memoryUsage.rss() - before < 50e6);
  await assert.rejects(decodeImage(await photo().png().toBuffer(), { exif: "ignore", maxPixels: 3071 }), {
    code: "image_too_large",
  });
  assert.equal((await decodeImage(await photo().png().toBuffer(), { exif: "ignore", maxPixels: 3072 })).width, 64);
});

test("thin images of 3x1000 and 1x60000 decode and resize within 100 MB", async () => {
  const recipe = { resize: 256, crop: 224, mean: [0, 0, 0], std: [1, 1, 1], exif: "ignore" } as const;
  for (const [width, height] of [
    [3, 1000],
    [1, 60_000],
  ] as const) {
    const file = await sharp(new Uint8Array(width * height).fill(90), { raw: { width, height, channels: 1 } })
      .png()
      .toBuffer();
    const before = process.memoryUsage.rss();
    const small = resizeAndCrop(await decode(file), { ...recipe, mean: [0, 0, 0], std: [1, 1, 1] });
    assert.ok(small.data.every((value) => value === 90));
    assert.ok(process.memoryUsage.rss() - before < 100e6);
  }
});

test("a PNG named .jpg is what it is", async () => {
  assert.equal((await probeImage(await photo().png().toBuffer())).format, "png");
});
