/** Shards in the compute process: an image that kills it is found and becomes an error row. */
import type { WorkEvent } from "@cardinal/contracts";
import { joinPieces, predictAround } from "@cardinal/inference/batch";
import type { ComputeProcess, ShardRun } from "@cardinal/queue";
import { layout, type ObjectStore } from "@cardinal/storage";

export interface ShardRunsOptions {
  store: ObjectStore;
  compute: Pick<ComputeProcess, "run">;
  drainGraceMs: number;
  record(event: WorkEvent, job: string): void;
}

export function shardRuns({ store, compute, drainGraceMs, record }: ShardRunsOptions) {
  return async (run: ShardRun): Promise<void> => {
    const { payload, signal, stopReason, saved, lostWorkers, save } = run;
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
  };
}
