/** How often and how fast work is tried again, by queue; BullMQ's options are made here and nowhere else. */
import type { QueueName } from "@cardinal/contracts";
import type { JobsOptions } from "bullmq";

interface Policy {
  /** Runs that may end in a retryable error. */
  attempts: number;
  /** First pause before a retry, doubled each time. */
  backoffMs: number;
  /**
   * How often a job may be taken from a worker that went silent. BullMQ counts these apart from `attempts`. Training
   * resumes from its checkpoint, so it may lose many workers. So may a shard: each one that it kills halves the images
   * among which the killer is looked for (packages/inference/src/killer-search.ts).
   */
  lostWorkers: number;
}

export const policies: Record<QueueName, Policy> = {
  train: { attempts: 4, backoffMs: 2_000, lostWorkers: 20 },
  ingest: { attempts: 3, backoffMs: 1_000, lostWorkers: 5 },
  import: { attempts: 3, backoffMs: 1_000, lostWorkers: 3 },
  predict: { attempts: 3, backoffMs: 1_000, lostWorkers: 20 },
  shard: { attempts: 3, backoffMs: 1_000, lostWorkers: 20 },
  image: { attempts: 1, backoffMs: 0, lostWorkers: 0 },
};

/**
 * A worker renews its locks every quarter of this. A killed worker's job is taken again after the lock and one
 * `STALL_CHECK_MS` have passed, so within 30 s.
 */
export const LOCK_MS = 20_000;
export const STALL_CHECK_MS = 8_000;

export function jobOptions(queue: QueueName, id: string, priority: number): JobsOptions {
  const policy = policies[queue];
  return {
    jobId: id,
    priority,
    attempts: policy.attempts,
    backoff: { type: "exponential", delay: policy.backoffMs },
    // The record is the truth and outlives BullMQ's entry.
    removeOnComplete: true,
    removeOnFail: true,
  };
}

/** Milliseconds before the next run, after `failed` runs before this one; as BullMQ's exponential backoff has it. */
export const retryDelay = (queue: QueueName, failed: number): number => policies[queue].backoffMs * 2 ** failed;

/**
 * Shards of jobs of one priority run in the order of their number, first come first within a number: the first shards
 * of a small job run before the later shards of a huge one that came before.
 */
export function shardPriority(jobPriority: number, shard: number): number {
  return jobPriority * 1_000 + Math.min(shard, 999);
}
