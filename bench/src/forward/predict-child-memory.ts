/** The peak memory of the process that predict-workers compute in, doing a shard of a real batch prediction. */
import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { claimCheckpoint, modelId, writeBundleFiles } from "@cardinal/checkpoint";
import type { ModelManifest, ShardInput, ShardPayload } from "@cardinal/contracts";
import { ComputeProcess } from "@cardinal/queue";
import { layout, type ObjectStore, openStore } from "@cardinal/storage";
import { inferenceEnvironment, inferenceModule } from "../../../apps/predict-worker/src/inference-process.ts";
import { texturedJpegs } from "../preprocess/images.ts";
import { transform } from "../transform.ts";
import { CLASSES, type ModelFiles, NETWORK } from "./model.ts";

const JOB = "predict-01jd0000000000000000000000";
const IMAGES = 48;

export interface ChildOptions {
  folder: string;
  model: ModelFiles;
  threads: number;
  batchSize: number;
}

/** Peak resident memory in MB (10^6 bytes); undefined where the kernel does not tell it (Linux does). */
export async function predictChildPeakRssMb(options: ChildOptions): Promise<number | undefined> {
  if (process.platform !== "linux") return undefined;
  const { folder, model, threads, batchSize } = options;
  const storeFolder = path.join(folder, "store");
  const store = await openStore({ kind: "directory", path: storeFolder });
  const child = new ComputeProcess({
    module: fileURLToPath(inferenceModule),
    env: {
      ...process.env,
      STORE_URL: pathToFileURL(storeFolder).href,
      ...inferenceEnvironment({ threads, batchSize, cacheDir: path.join(folder, "models"), modelMemoryMb: 500 }),
    },
    silenceMs: 120_000,
    cancelGraceMs: 1_000,
  });
  try {
    const payload = await shard(store, await publish(store, model));
    await child.run("shard", { payload });
    const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
    return (Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]) * 1024) / 1e6;
  } finally {
    await child.stop();
    await store.close();
  }
}

/** A model with this network, as an import job publishes one. */
async function publish(store: ObjectStore, model: ModelFiles): Promise<string> {
  const job = "import-01jd0000000000000000000000";
  const id = modelId(job, 1);
  const classes = Array.from({ length: CLASSES }, (_, index) => `class ${index}`);
  const files = await writeBundleFiles(store, id, {
    onnx: createReadStream(model.onnx),
    safetensors: createReadStream(model.safetensors),
    classes,
    report: { epochs: [], confusion: [], classes: [] },
  });
  const { sha256, bytes } = files["weights.safetensors"];
  const manifest: ModelManifest = {
    format: 1,
    id,
    createdAt: new Date().toISOString(),
    architecture: NETWORK,
    classes,
    transform,
    lineage: { job, source: { format: "safetensors", sha256, bytes }, software: "bench" },
    files,
  };
  await (await claimCheckpoint(store, job, 1)).announce(manifest);
  return id;
}

async function shard(store: ObjectStore, model: string): Promise<ShardPayload> {
  const inputs: ShardInput[] = [];
  for (const [index, jpeg] of (await texturedJpegs(IMAGES)).entries()) {
    const sha256 = createHash("sha256").update(jpeg).digest("hex");
    await store.put(layout.blob(sha256), jpeg);
    inputs.push({ image: `${index}.jpg`, sha256 });
  }
  const key = layout.shardInputs(JOB, "bench", 0);
  await store.put(key, Buffer.from(inputs.map((input) => `${JSON.stringify(input)}\n`).join("")));
  return { v: 1, job: JOB, shard: 0, inputs: key, images: inputs.length, model, topK: 5 };
}
