/** The bare engine with decoding: what a shard does, without queue, store and rows. Arguments: ONNX file, folder. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { batches } from "@cardinal/dataset";
import { loadSession, topK } from "@cardinal/inference";
import { env } from "onnxruntime-node";
import { CLASSES } from "../forward/model.ts";
import { answerLines, imagesPerSecond } from "../line-child.ts";
import { transform } from "../transform.ts";

const [onnx, folder] = process.argv.slice(2);
const batchSize = Number(process.env.BATCH_SIZE);
const session = await loadSession(onnx!, { threads: Number(process.env.THREADS) });
const names = Array.from({ length: CLASSES }, (_, index) => String(index));

/** `files`: names in the folder. */
const rate = ({ files }: { files: string[] }) =>
  imagesPerSecond(0, async () => {
    const read = (file: string) => readFile(path.join(folder!, file));
    let answers = 0;
    for await (const batch of batches(files, { read, transform, layout: "nchw", batchSize })) {
      const logits = await session.run(batch.data, batch.count);
      for (let i = 0; i < batch.count; i++) {
        answers += topK(logits.subarray(i * CLASSES, (i + 1) * CLASSES), 5, names).length / 5;
      }
    }
    return answers;
  });

await answerLines({ onnxruntime: env.versions.node! }, { rate });
