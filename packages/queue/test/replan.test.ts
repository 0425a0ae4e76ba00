import assert from "node:assert/strict";
import { test } from "node:test";
import { type FeatureShardPayload, type Payloads, problem } from "@cardinal/contracts";
import { guardLeaks, waitFor } from "@cardinal/testing";
import { createShardWorker, createWorker, JobQueue, type Outcome } from "../src/index.ts";
import { enqueue, openBench, recordedEvents, testRedis } from "./setup.ts";

const redis = await testRedis();
guardLeaks();

const digest = "0".repeat(64);

function trainPayload(job = JobQueue.newId("train")): Payloads["train"] {
  const recipe = { epochs: 1, batchSize: 16, accumulate: 1, labelSmoothing: 0, augment: {}, seed: 0, priority: 100 };
  const optimizer = { name: "adam", learningRate: 1e-4, weightDecay: 0, decayNormAndBias: true } as const;
  const schedule = { name: "constant", warmupEpochs: 0 } as const;
  const dataset = { name: "digits", version: digest };
  const what = { dataset, architecture: "resnet18", base: "mdl-x", trainable: "head" } as const;
  return { v: 2, job, request: { ...recipe, ...what, optimizer, schedule } };
}

const shardsOf = (job: string, count: number): FeatureShardPayload[] =>
  Array.from({ length: count }, (_, shard) => ({
    ...{ v: 2, task: "features", job, shard, inputs: `extractions/${job}/inputs/${shard}.jsonl`, images: 10 },
    ...{ network: { key: "models/mdl-x/model.onnx", sha256: digest }, backbone: digest, views: ["center"] },
    transform: { resize: 28, crop: 28, mean: [0, 0, 0], std: [1, 1, 1], exif: "ignore" },
  }));

test("a training job whose features are gone is planned again, counts anew, and is no longer parked at work", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "train", trainPayload());
  const runs: string[] = [];
  const seen: { parked: boolean; done: number; total?: number }[] = [];
  const parent = createWorker(bench.consumer, {
    kind: "train",
    concurrency: 1,
    events: recordedEvents(),
    handle: async (run): Promise<Outcome> => {
      if (!run.shardsDone) {
        runs.push("plan");
        const count = runs.length === 1 ? 3 : 1;
        return { shards: shardsOf(run.payload.job, count), images: count * 10, priority: 100 };
      }
      runs.push("train");
      const { parked, done, total } = await bench.queue.get(job.id);
      seen.push({ parked, done, total });
      if (runs.length === 2) throw problem("features_missing", "swept");
      return { result: { attempts: run.attempts } };
    },
  });
  const shards = createShardWorker(bench.consumer, {
    concurrency: 1,
    events: recordedEvents(),
    handle: async () => {},
  });
  const end = await waitFor(
    async () => {
      const found = await bench.queue.get(job.id);
      return found.finishedAt && found;
    },
    { what: "the job's end", timeoutMs: 30_000 },
  );
  await parent.close();
  await shards.close();
  assert.equal(end.state, "completed");
  assert.deepEqual(runs, ["plan", "train", "plan", "train"]);
  assert.deepEqual(seen, [
    { parked: false, done: 30, total: 30 },
    { parked: false, done: 10, total: 10 },
  ]);
  assert.equal(end.result!.attempts, 2);
});
