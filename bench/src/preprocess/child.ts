/** Cardinal's side of `preprocess`. Arguments: image files. */
import { readFileSync, writeFileSync } from "node:fs";
import { batches, decodeImage, normalizeInto, releasePixels, resizeAndCrop } from "@cardinal/dataset";
import sharp from "sharp";
import { answerLines, imagesPerSecond } from "../line-child.ts";
import { transform } from "../transform.ts";

const images = process.argv.slice(2).map((file) => readFileSync(file));
const size = 3 * transform.crop ** 2;
const data = new Float32Array(size);

async function prepare(image: Uint8Array, out: Float32Array, offset: number): Promise<void> {
  const decoded = await decodeImage(image, { exif: transform.exif });
  const cropped = resizeAndCrop(decoded, transform);
  releasePixels(decoded);
  normalizeInto(cropped, transform, "nchw", out, offset);
  releasePixels(cropped);
}

/** One image after another, as single images are answered. */
const rate = ({ seconds }: { seconds: number }) =>
  imagesPerSecond(seconds, async () => {
    for (const image of images) await prepare(image, data, 0);
    return images.length;
  });

/** As shards do it: some images under way at once. */
const batchRate = ({ seconds }: { seconds: number }) =>
  imagesPerSecond(seconds, async () => {
    let count = 0;
    const read = (image: Buffer) => Promise.resolve(image);
    for await (const batch of batches(images, { read, transform, layout: "nchw", batchSize: 4 })) count += batch.count;
    return count;
  });

/** Writes all tensors to a file: float32, NCHW. */
const tensors = async ({ output }: { output: string }) => {
  const all = new Float32Array(images.length * size);
  for (const [index, image] of images.entries()) await prepare(image, all, index * size);
  writeFileSync(output, new Uint8Array(all.buffer));
};

await answerLines({ sharp: sharp.versions.sharp!, vips: sharp.versions.vips! }, { rate, batchRate, tensors });
