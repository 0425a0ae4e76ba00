/**
 * A predict-worker: plans and stitches batch jobs in this process, runs shards and single images in one compute process
 * (an image goes in between two batches of a shard), and takes archives and weights in.
 */
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { imageAnswerSchema, type QueueName, type WorkEvent } from "@cardinal/contracts";
import { createImageWorker, createShardWorker, createWorker } from "@cardinal/queue";
import { hostList, predictWorkerVariables, runMain } from "@cardinal/service";
import { openStore, storeConfigFromEnv } from "@cardinal/storage";
import { openWorkerShell } from "@cardinal/worker";
import { batchPrediction } from "./batch-prediction.ts";
import { contactSheets } from "./contact-sheet.ts";
import { inferenceEnvironment, inferenceModule } from "./inference-process.ts";
import { createIntakeWorkers } from "./intake-workers.ts";
import { shardRuns } from "./shard-runs.ts";

await runMain(async () => {
  const QUEUES: readonly QueueName[] = ["image", "shard", "predict", "ingest", "import"];

  const shell = await openWorkerShell("predict", "onnxruntime", predictWorkerVariables);
  const { env, consumer, events, logger, metrics, shutdown } = shell;

  const store = await openStore(storeConfigFromEnv(process.env));
  shutdown.onClose("store", () => store.close());

  const cacheDir = env.CACHE_DIR ?? join(tmpdir(), `cardinal-models-${userInfo().uid}`);
  const settings = { threads: env.THREADS, cacheDir, batchSize: env.BATCH_SIZE, modelMemoryMb: env.MODEL_MEMORY_MB };
  const inference = shell.compute(inferenceModule, inferenceEnvironment(settings));
  const drainGraceMs = env.SHUTDOWN_GRACE_SECONDS * 1000;

  const workers = [
    createImageWorker(consumer, {
      // One at a time, so that the next image goes to whichever worker is free. With 4, on 2 workers at 70% load, the
      // slowest hundredth took 45 ms above the network's time, not 35.
      concurrency: 1,
      events,
      handle: async (payload, signal) => {
        const onEvent = (event: WorkEvent) => shell.record(event, payload.id);
        return imageAnswerSchema.parse(await inference.run("image", payload, { signal, onEvent }));
      },
    }),
    createShardWorker(consumer, {
      concurrency: 1,
      events: {
        ...events,
        shardFailed: ({ job, shard }, error) => logger.warn({ job, shard, error }, "shard failed"),
      },
      handle: shardRuns({ store, compute: inference, drainGraceMs, record: shell.record }),
    }),
    createWorker(consumer, {
      kind: "predict",
      concurrency: 4,
      events,
      handle: batchPrediction({
        store,
        metrics,
        maxShardImages: env.SHARD_IMAGES,
        prefixArea: env.PREDICT_PREFIX_AREA,
        contactSheet: contactSheets(inference, logger, env.CONTACT_SHEET_IMAGES),
      }),
    }),
    ...createIntakeWorkers({
      shell,
      threads: env.THREADS,
      drainGraceMs,
      importHosts: hostList(env.IMPORT_ALLOWED_HOSTS),
      importIdleMs: env.IMPORT_IDLE_TIMEOUT_MS,
    }),
  ];

  await shell.start(QUEUES, workers);
});
