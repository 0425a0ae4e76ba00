/** Cardinal's side of `forward`: a session as the predict-worker's child opens it. Arguments: ONNX file, threads. */
import { readFileSync } from "node:fs";
import { loadSession } from "@cardinal/inference";
import { env } from "onnxruntime-node";
import { answerLines, imagesPerSecond } from "../line-child.ts";
import { noiseImages } from "./model.ts";

const [onnx, threads] = process.argv.slice(2);
const session = await loadSession(onnx!, { threads: Number(threads) });
const largestBatch = 4;
const noise = noiseImages(largestBatch);

const rate = ({ batch, seconds }: { batch: number; seconds: number }) =>
  imagesPerSecond(seconds, async () => {
    await session.run(noise, batch);
    return batch;
  });

/** Seconds of each run of one image. */
const times = async ({ runs }: { runs: number }) => {
  const seconds: number[] = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await session.run(noise, 1);
    seconds.push((performance.now() - start) / 1000);
  }
  return seconds;
};

const logits = async ({ input }: { input: string }) => {
  const bytes = readFileSync(input);
  const images = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  return Array.from(await session.run(images, images.length / (3 * session.side ** 2)));
};

await answerLines({ onnxruntime: env.versions.node! }, { rate, times, logits });
