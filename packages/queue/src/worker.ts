/**
 * The consumer's side: `createWorker` takes jobs of one kind from their queue, one handler call a run.
 *
 * A run: claim (the record says whether the job may run at all, and gives the fence) -> handler -> finish. Meanwhile
 * BullMQ renews the lock of the entry, and a watch looks at the record every second: a cancelled job, or one that
 * another worker has claimed, has its signal aborted.
 *
 * How a run can end, and what becomes of the job:
 * - a result: completed. A `CardinalError` that cannot heal: failed. One that can: waiting again, after a pause, while
 *   attempts are left; then failed.
 * - drained (the worker is shutting down): waiting again at once, no attempt used.
 * - cancelled or fenced off: nothing is written; the record already says what is true.
 * - the worker dies: BullMQ notices that the lock has run out and hands the entry to another worker.
 */
import { hostname } from "node:os";
import {
  type AnyShardPayload,
  type JobKind,
  type LogLevel,
  type Payloads,
  type ProblemRecord,
  type Progress,
  payloadSchemas,
  problem,
  toProblem,
} from "@cardinal/contracts";
import { type Job, UnrecoverableError, WaitingChildrenError } from "bullmq";
import {
  backToWait,
  openBullWorker,
  type QueueWorker,
  type RunStop,
  refuseNewer,
  type WorkerEvents,
  watch,
} from "./bull-worker.ts";
import type { StopReason } from "./child.ts";
import type { QueueConsumer } from "./consumer.ts";
import { jobOptions, policies, retryDelay } from "./policy.ts";
import { ProgressWriter } from "./progress-writer.ts";
import type { Claim } from "./records.ts";
import { addShards, type ShardFailure, shardFailures } from "./shard-flow.ts";

/** What a handler makes of a run. */
export type Outcome =
  | { result: Record<string, unknown> }
  /** The job failed but has something to show. */
  | { failure: ProblemRecord; result: Record<string, unknown> }
  /** The job waits for these shards and is then run again with `shardsDone`. */
  | { shards: AnyShardPayload[]; images: number; priority: number };

export interface JobRun<K extends JobKind> {
  payload: Payloads[K];
  /** Grows with every run of the job, whoever runs it; fences off late writers. */
  fence: number;
  /** How often the job was begun, this run included; a run after a drain is not counted. */
  attempts: number;
  /** Somebody asked for the job to be run again after it had ended. */
  isRetry: boolean;
  /** When the job's first run began. */
  startedAt: Date;
  /** Aborts when the run must end; `stopReason` says why. */
  signal: AbortSignal;
  stopReason(): StopReason | undefined;
  /** Set when all shards of a planned job have ended: those that failed for good. */
  shardsDone: ShardFailure[] | undefined;
  progress(progress: Progress): Promise<void>;
  /** Asked before a result is published: false when the job was cancelled or taken over. No cancel is taken after. */
  seal(): Promise<boolean>;
}

export interface WorkerOptions<K extends JobKind> {
  kind: K;
  concurrency: number;
  handle(run: JobRun<K>): Promise<Outcome>;
  events: WorkerEvents;
}

/** How a run ended, in its job's log. */
const ENDS = {
  completed: "completed",
  failed: "failed",
  retried: "failed with an error that may heal: the job is tried again",
  drained: "the worker is shutting down: the job waits for another one",
  stopped: "stopped: the job was cancelled or another worker has it",
} as const;

/** What BullMQ fails an entry with that was taken from more workers than its `lostWorkers`. */
const STALLED_TOO_OFTEN = "job stalled more than allowable limit";

export function createWorker<K extends JobKind>(consumer: QueueConsumer, options: WorkerOptions<K>): QueueWorker {
  const { kind, events } = options;
  const worker = openBullWorker(consumer, kind, options.concurrency, events, async (job, token, stop) => {
    await refuseNewer(job, token);
    const claim = await consumer.records.claim(kind, job.id!);
    if (!claim) return;
    await new JobRunner(consumer, options, job, token, claim, stop).run();
  });
  // A job that was cancelled and retried while its run was ending found its entry still there: it gets a new one.
  const revive = (job: Job | undefined) => job && reviveEntry(consumer, kind, job).catch(events.error);
  worker.bull.on("completed", revive);
  worker.bull.on("failed", revive);
  // BullMQ fails an entry by itself when too many workers went silent with it: no handler sees that.
  worker.bull.on("failed", (job, error) => {
    // By its whole text: the message of a run that is tried again may name a file of any name.
    if (!job?.id || error.message !== STALLED_TOO_OFTEN) return;
    const lost: ProblemRecord = { code: "job_lost", message: "too many workers died while they ran the job" };
    consumer.records
      .finish(kind, job.id, undefined, { error: lost })
      .then((first) => {
        if (!first) return;
        events.ended?.(kind, "failed", 0, job.id!, lost);
        consumer.tell(job.id!, "error", ENDS.failed, { ...lost });
      })
      .catch(events.error);
  });
  return worker;
}

/** Adds an entry for a job that waits; adding what is there already changes nothing. */
async function reviveEntry({ bull, records }: QueueConsumer, kind: JobKind, { id, data }: Job): Promise<void> {
  const record = await records.get(id!);
  if (record?.state === "waiting") await bull[kind].add(kind, data, jobOptions(kind, id!, record.priority));
}

class JobRunner<K extends JobKind> {
  readonly #consumer: QueueConsumer;
  readonly #options: WorkerOptions<K>;
  readonly #job: Job;
  readonly #token: string;
  readonly #claim: Claim;
  readonly #stop: RunStop;
  readonly #progress: ProgressWriter;
  readonly #began = performance.now();
  #isRetry = false;

  constructor(
    consumer: QueueConsumer,
    options: WorkerOptions<K>,
    job: Job,
    token: string,
    claim: Claim,
    stop: RunStop,
  ) {
    this.#consumer = consumer;
    this.#options = options;
    this.#job = job;
    this.#token = token;
    this.#claim = claim;
    this.#stop = stop;
    this.#progress = new ProgressWriter(consumer.records, job.id!, claim.fence);
  }

  async run(): Promise<void> {
    const { kind, events } = this.#options;
    const id = this.#job.id!;
    const waitSeconds = (Date.now() - this.#claim.waitingSince.getTime()) / 1000;
    events.started?.(kind, waitSeconds, id);
    this.#tellStart(waitSeconds);
    const unwatch = watch(this.#stop, async () => (await this.#write()) === "ok", events.error);
    try {
      await this.#execute();
    } catch (error) {
      if (error instanceof WaitingChildrenError) throw error;
      await this.#onError(toProblem(error));
    } finally {
      unwatch();
    }
  }

  async #execute(): Promise<void> {
    const payload = payloadSchemas[this.#options.kind].parse(this.#job.data) as Payloads[K];
    let shardsDone: ShardFailure[] | undefined;
    if (this.#claim.planned) shardsDone = await this.#waitForShards();
    else this.#isRetry = ((await this.#consumer.records.get(this.#job.id!))?.history.length ?? 0) > 0;
    let outcome = await this.#options.handle(this.#jobRun(payload, shardsDone));
    if ("shards" in outcome) {
      await this.#addShards(outcome);
      shardsDone = await this.#waitForShards();
      outcome = await this.#options.handle(this.#jobRun(payload, shardsDone));
    }
    if ("shards" in outcome) throw problem("internal_error", "a job was planned twice");
    await this.#finish(outcome);
  }

  /** Shards may be done before the last is added: what counts them is made ready first. */
  async #addShards({ shards, images, priority }: Extract<Outcome, { shards: unknown }>): Promise<void> {
    const left = shards.reduce((sum, shard) => sum + shard.images, 0);
    const outcome = await this.#write({ total: images, done: images - left });
    if (outcome !== "ok") throw problem("fenced", `the run may not go on: ${outcome}`);
    await this.#consumer.records.forgetShards(this.#job.id!);
    await addShards(this.#consumer, this.#job, shards, priority);
    await this.#write({ planned: "1" });
    this.#tell("info", "planned", { shards: shards.length, images });
  }

  /** Ends this run (by `WaitingChildrenError`) while shards are open; gives those that failed when all have ended. */
  async #waitForShards(): Promise<ShardFailure[]> {
    await this.#write({ parked: "1" });
    if (await this.#job.moveToWaitingChildren(this.#token)) throw new WaitingChildrenError();
    await this.#write({ parked: "0" });
    return shardFailures(this.#job);
  }

  async #finish(outcome: { result: Record<string, unknown>; failure?: ProblemRecord }): Promise<void> {
    const { kind } = this.#options;
    await this.#progress.flush();
    const end = outcome.failure ? { error: outcome.failure, result: outcome.result } : { result: outcome.result };
    const first = await this.#consumer.records.finish(kind, this.#job.id!, this.#claim.fence, end);
    if (first && !outcome.failure) this.#measure();
    this.#ended(first ? (outcome.failure ? "failed" : "completed") : "stopped", outcome.failure);
  }

  async #onError(failure: ReturnType<typeof toProblem>): Promise<void> {
    const { kind } = this.#options;
    const id = this.#job.id!;
    const { records } = this.#consumer;
    if (this.#stop.reason === "drain") {
      this.#ended("drained");
      await records.requeue(kind, id, this.#claim.fence);
      await backToWait(this.#job, this.#token);
    }
    if (this.#stop.reason === "cancelled" || failure.code === "fenced") {
      this.#ended("stopped");
      return;
    }
    if (failure.retryable && this.#job.attemptsMade + 1 < policies[kind].attempts) {
      this.#ended("retried", failure.toRecord());
      const retryAt = Date.now() + retryDelay(kind, this.#job.attemptsMade);
      await records.requeue(kind, id, this.#claim.fence, retryAt, failure.code === "features_missing");
      throw failure;
    }
    const first = await records.finish(kind, id, this.#claim.fence, { error: failure.toRecord() });
    this.#ended(first ? "failed" : "stopped", failure.toRecord());
    throw new UnrecoverableError(failure.message);
  }

  #ended(outcome: Parameters<NonNullable<WorkerEvents["ended"]>>[1], error?: ProblemRecord): void {
    const seconds = this.#seconds();
    this.#options.events.ended?.(this.#options.kind, outcome, seconds, this.#job.id!, error);
    const level = outcome === "failed" ? "error" : error ? "warn" : "info";
    this.#tell(level, ENDS[outcome], { seconds: Math.round(seconds * 100) / 100, ...error });
  }

  #seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  /** A job in one run says what such work takes. */
  #measure(): void {
    const { work, fence, planned } = this.#claim;
    if (fence !== 1 || planned) return;
    const { speeds } = this.#consumer;
    speeds.ran(this.#options.kind, this.#seconds());
    if (work) speeds.worked(work, this.#seconds());
  }

  #tellStart(waitSeconds: number): void {
    const { attempts, fence, takenOver, planned } = this.#claim;
    if (takenOver) this.#tell("warn", "the worker that ran the job went silent: another one takes it");
    const waited = Math.round(waitSeconds * 10) / 10;
    const message = planned ? "a worker looks after the planned job" : "a worker begins";
    this.#tell("info", message, { attempt: attempts, run: fence, waitSeconds: waited, host: hostname() });
  }

  #tell(level: LogLevel, message: string, fields?: Record<string, unknown>): void {
    this.#consumer.tell(this.#job.id!, level, message, fields);
  }

  #write(values: Record<string, string | number> = {}): Promise<string> {
    return this.#consumer.records.write(this.#job.id!, this.#claim.fence, values);
  }

  #jobRun(payload: Payloads[K], shardsDone: ShardFailure[] | undefined): JobRun<K> {
    return {
      payload,
      fence: this.#claim.fence,
      attempts: this.#claim.attempts,
      isRetry: this.#isRetry,
      startedAt: this.#claim.startedAt,
      signal: this.#stop.signal,
      stopReason: () => this.#stop.reason,
      shardsDone,
      progress: async (progress) => {
        if ((await this.#progress.write(progress)) !== "ok") this.#stop.stop("cancelled");
      },
      seal: async () => (await this.#write({ sealed: "1" })) === "ok",
    };
  }
}
