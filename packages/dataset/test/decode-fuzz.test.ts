import assert from "node:assert/strict";
import { test } from "node:test";
import { CardinalError } from "@cardinal/contracts";
import sharp from "sharp";
import { decodeImage, isImageError, seededRandom } from "../src/index.ts";
import { noise } from "./noise.ts";

for (const format of ["jpeg", "png", "webp", "gif", "tiff", "avif"] as const) {
  test(`100 damaged ${format} files decode to their declared size or end in an image error`, async () => {
    const { width, height, data } = noise(40, 30);
    const whole = await sharp(data, { raw: { width, height, channels: 3 } })
      .toFormat(format)
      .toBuffer();
    const random = seededRandom(7, whole.length);
    const below = (n: number) => Math.floor(random() * n);
    let refused = 0;
    for (let round = 0; round < 100; round++) {
      const damaged = Buffer.from(round % 5 === 0 ? whole.subarray(0, below(whole.length)) : whole);
      // Headers are where a decoder can be led astray: half of the damage goes to the first bytes.
      for (let i = 0; i <= below(5) && damaged.length > 0; i++) {
        damaged[below(random() < 0.5 ? Math.min(64, damaged.length) : damaged.length)] = below(256);
      }
      try {
        const image = await decodeImage(damaged, { exif: "ignore", maxPixels: 1_000_000 });
        assert.equal(image.data.length, image.width * image.height * 3);
      } catch (error) {
        assert.ok(error instanceof CardinalError && isImageError(error), `round ${round}: ${error}`);
        refused++;
      }
    }
    assert.ok(refused >= 20, `${refused} of 100 were refused`);
  });
}
