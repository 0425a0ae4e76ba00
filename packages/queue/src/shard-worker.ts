/**
 * Takes shards of predict jobs and of feature extractions. A shard has no record of its own: what it puts into the store
 * says that it is done, and its job's record counts it. A shard of a job that has ended is dropped.
 */
import {
  type AnyShardPayload,
  anyShardPayloadSchema,
  hasEnded,
  type ProblemRecord,
  problem,
  toProblem,
} from "@cardinal/contracts";
import { UnrecoverableError } from "bullmq";
import { backToWait, openBullWorker, type QueueWorker, refuseNewer, type WorkerEvents, watch } from "./bull-worker.ts";
import type { StopReason } from "./child.ts";
import type { QueueConsumer } from "./consumer.ts";

export interface ShardRun {
  payload: AnyShardPayload;
  signal: AbortSignal;
  stopReason(): StopReason | undefined;
  /** What an earlier run of the shard, maybe of another worker, has saved. */
  saved: unknown;
  /** Workers that went silent with the shard so far. */
  lostWorkers: number;
  /** Keeps a small JSON object for the next run, in the shard's queue entry. */
  save(state: Record<string, unknown>): Promise<void>;
}

export interface ShardWorkerOptions {
  concurrency: number;
  handle(run: ShardRun): Promise<void>;
  events: WorkerEvents & { shardFailed?(payload: AnyShardPayload, error: ProblemRecord): void };
}

export function createShardWorker(consumer: QueueConsumer, options: ShardWorkerOptions): QueueWorker {
  const { events } = options;
  const { records } = consumer;
  return openBullWorker(consumer, "shard", options.concurrency, events, async (job, token, stop) => {
    await refuseNewer(job, token);
    const payload = anyShardPayloadSchema.parse(job.data);
    const isWanted = async () => {
      const parent = await records.get(payload.job);
      return parent !== undefined && !hasEnded(parent.state);
    };
    if (!(await isWanted())) return;
    const unwatch = watch(stop, isWanted, events.error);
    const began = performance.now();
    try {
      await options.handle({
        payload,
        signal: stop.signal,
        stopReason: () => stop.reason,
        // BullMQ begins with 0.
        saved: typeof job.progress === "object" ? job.progress : undefined,
        lostWorkers: job.stalledCounter,
        save: (state) => job.updateProgress(state),
      });
      const seconds = (performance.now() - began) / 1000;
      const network = "task" in payload ? payload.backbone : payload.model;
      consumer.speeds.worked({ sort: `shard:${network}`, amount: payload.images }, seconds);
      await records.shardDone(payload.job, payload.shard, payload.images);
    } catch (error) {
      if (stop.reason === "drain") await backToWait(job, token);
      if (stop.reason === "cancelled") return;
      const failure = toProblem(error);
      events.shardFailed?.(payload, failure.toRecord());
      const { shard, images } = payload;
      consumer.tell(payload.job, "warn", `shard ${shard} failed`, { shard, images, ...failure.toRecord() });
      // The message is all that BullMQ keeps: it is the reason of a `ShardFailure`.
      const reason = `${failure.code}: ${failure.message}`;
      throw failure.retryable ? problem(failure.code, reason) : new UnrecoverableError(reason);
    } finally {
      unwatch();
    }
  });
}
