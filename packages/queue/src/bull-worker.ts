/** What all of Cardinal's BullMQ workers share: locks, the stop signals of their runs, the drain on close. */
import { type JobKind, PAYLOAD_VERSION, type ProblemRecord, problem, type QueueName } from "@cardinal/contracts";
import { DelayedError, type Job, WaitingError, Worker } from "bullmq";
import type { StopReason } from "./child.ts";
import { farewell } from "./connection.ts";
import type { QueueConsumer } from "./consumer.ts";
import { LOCK_MS, policies, STALL_CHECK_MS } from "./policy.ts";

export interface WorkerEvents {
  started?(kind: JobKind, waitSeconds: number, id: string): void;
  ended?(
    kind: JobKind,
    outcome: "completed" | "failed" | "retried" | "drained" | "stopped",
    seconds: number,
    id: string,
    error?: ProblemRecord,
  ): void;
  stalled?(queue: QueueName): void;
  error(error: Error): void;
}

export interface QueueWorker {
  /** Ids of the jobs, shards or images in work. */
  active(): string[];
  /** Takes nothing new, drains what runs, and ends. */
  close(): Promise<void>;
}

const WATCH_MS = 1_000;

/** One run's stop signal, aborted by the watch (cancelled, fenced) or by the worker's end (drain). */
export class RunStop {
  readonly #controller = new AbortController();
  #reason: StopReason | undefined;

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get reason(): StopReason | undefined {
    return this.#reason;
  }

  stop(reason: StopReason): void {
    if (this.#reason) return;
    this.#reason = reason;
    this.#controller.abort(
      problem(
        reason === "cancelled" ? "cancelled" : "shutting_down",
        `the run was ${reason === "cancelled" ? "cancelled" : "drained"}`,
      ),
    );
  }
}

/** Calls `mayGoOn` every second until it says no; gives the function that ends the watch. */
export function watch(stop: RunStop, mayGoOn: () => Promise<boolean>, onError: (error: Error) => void): () => void {
  let busy = false;
  const timer = setInterval(async () => {
    if (busy) return;
    busy = true;
    try {
      if (!(await mayGoOn())) stop.stop("cancelled");
    } catch (error) {
      onError(error as Error);
    } finally {
      busy = false;
    }
  }, WATCH_MS);
  return () => clearInterval(timer);
}

/** A BullMQ worker with Cardinal's locks, and the drain on close. */
export function openBullWorker(
  consumer: QueueConsumer,
  queue: QueueName,
  concurrency: number,
  events: WorkerEvents,
  process: (job: Job, token: string, stop: RunStop) => Promise<void>,
): QueueWorker & { bull: Worker } {
  const runs = new Map<string, RunStop>();
  let draining = false;
  const bull = new Worker(
    queue,
    async (job, token) => {
      const id = job.id!;
      if (draining) await backToWait(job, token!);
      const stop = new RunStop();
      runs.set(id, stop);
      try {
        await process(job, token!, stop);
      } finally {
        runs.delete(id);
      }
    },
    {
      connection: consumer.redis,
      prefix: consumer.keys.bull,
      concurrency,
      lockDuration: LOCK_MS,
      lockRenewTime: LOCK_MS / 4,
      stalledInterval: STALL_CHECK_MS,
      maxStalledCount: policies[queue].lostWorkers,
    },
  );
  bull.on("error", events.error);
  bull.on("stalled", () => events.stalled?.(queue));
  return {
    bull,
    active: () => [...runs.keys()],
    async close() {
      draining = true;
      for (const stop of runs.values()) stop.stop("drain");
      await farewell(consumer.redis, bull.close(), () => runs.size === 0);
    },
  };
}

/** Gives the entry back at once, without using an attempt; never returns. */
export async function backToWait(job: Job, token: string): Promise<never> {
  await job.moveToWait(token);
  throw new WaitingError();
}

/** Leaves an entry of a newer Cardinal to workers that understand it. */
export async function refuseNewer(job: Job, token: string): Promise<void> {
  const version = (job.data as { v?: unknown }).v;
  if (typeof version === "number" && version > PAYLOAD_VERSION) {
    await job.moveToDelayed(Date.now() + 5_000, token);
    throw new DelayedError();
  }
}
