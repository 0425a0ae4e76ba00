/**
 * A predict-worker as apps/predict-worker is one, process for process (this one and its compute process), but that the
 * compute process sleeps instead of decoding and computing.
 */
import { createShardWorker, createWorker } from "@cardinal/queue";
import { predictWorkerVariables, runMain } from "@cardinal/service";
import { openStore, storeConfigFromEnv } from "@cardinal/storage";
import { openWorkerShell } from "@cardinal/worker";
import { batchPrediction } from "../../../apps/predict-worker/src/batch-prediction.ts";
import { shardRuns } from "../../../apps/predict-worker/src/shard-runs.ts";

await runMain(async () => {
  const shell = await openWorkerShell("predict", "stand-in", predictWorkerVariables);
  const { env, consumer, events, metrics, shutdown } = shell;
  const store = await openStore(storeConfigFromEnv(process.env));
  shutdown.onClose("store", () => store.close());
  const compute = shell.compute(new URL("./sleeping-child.ts", import.meta.url), {});
  // Warm, as a worker is that has had a shard before.
  await compute.run("ready", {});
  const runShard = shardRuns({ store, compute, drainGraceMs: 1_000, record: shell.record });
  await shell.start(
    ["shard", "predict"],
    [
      createShardWorker(consumer, { concurrency: 1, events, handle: runShard }),
      createWorker(consumer, {
        kind: "predict",
        concurrency: 4,
        events,
        handle: batchPrediction({ store, metrics, maxShardImages: env.SHARD_IMAGES, prefixArea: "inbox/" }),
      }),
    ],
  );
});
