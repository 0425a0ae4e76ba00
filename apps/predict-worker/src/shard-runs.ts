/**
 * Shards in the compute process. Of a prediction, an image that kills it is found and becomes an error row; a shard of
 * features that keeps killing it fails, since a training does not go on without an image.
 */
import { type FeatureShardPayload, problem, type ShardPayload, type WorkEvent } from "@cardinal/contracts";
import { joinPieces, predictAround } from "@cardinal/inference/batch";
import type { ComputeProcess, ShardRun } from "@cardinal/queue";
import { layout, type ObjectStore } from "@cardinal/storage";

export interface ShardRunsOptions {
  store: ObjectStore;
  compute: Pick<ComputeProcess, "run">;
  drainGraceMs: number;
  record(event: WorkEvent, job: string): void;
}

/** Workers that a shard of features may take with it; its compute process dies alone, as a rule. */
const MOST_LOST_WORKERS = 3;

export function shardRuns(options: ShardRunsOptions) {
  return (run: ShardRun): Promise<void> => {
    const { payload } = run;
    return "task" in payload ? extract(options, run, payload) : predict(options, run, payload);
  };
}

async function extract(options: ShardRunsOptions, run: ShardRun, payload: FeatureShardPayload): Promise<void> {
  const { shard, images, job } = payload;
  if (run.lostWorkers >= MOST_LOST_WORKERS) {
    throw problem("job_lost", `${run.lostWorkers} workers died with shard ${shard} of ${images} images`, { shard });
  }
  const onEvent = (event: WorkEvent) => options.record(event, job);
  const { signal, stopReason } = run;
  await options.compute.run("features", payload, { signal, stopReason, drainGraceMs: options.drainGraceMs, onEvent });
}

async function predict(
  { store, compute, drainGraceMs, record }: ShardRunsOptions,
  { signal, stopReason, saved, lostWorkers, save }: ShardRun,
  payload: ShardPayload,
): Promise<void> {
  const onEvent = (event: WorkEvent) => record(event, payload.job);
  const hasPieces = await predictAround({
    images: payload.images,
    saved,
    lostWorkers,
    save,
    predict: async (range) => {
      await compute.run("shard", { payload, range }, { signal, stopReason, drainGraceMs, onEvent });
    },
    join: (search) => joinPieces(store, payload, search, signal),
  });
  if (hasPieces) await store.deletePrefix(layout.pieces(payload.job, payload.shard));
}
