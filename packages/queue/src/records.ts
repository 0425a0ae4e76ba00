/**
 * The record of a job: the truth about its state. BullMQ only decides which worker runs it and when; it knows no
 * `cancelled`, and its own job entry is removed as soon as it ends.
 *
 * A record that has ended stays for `retentionSeconds` and then expires, so a Redis that must not evict does not fill
 * up with finished jobs. What else a job leaves in Redis (its finished shards) expires with it.
 */
import {
  type Epoch,
  epochSchema,
  type JobKind,
  type JobState,
  type ProblemRecord,
  type Progress,
  problem,
} from "@cardinal/contracts";
import type { Redis } from "ioredis";
import type { Keys } from "./keys.ts";
import { defineTransitions } from "./transitions.ts";

export interface JobRecord {
  id: string;
  kind: JobKind;
  state: JobState;
  request: Record<string, unknown>;
  payload: Record<string, unknown>;
  priority: number;
  /** Name of the key that submitted it. */
  createdBy?: string;
  attempts: number;
  /** Of those, how many belong to budgets before the last retry. */
  attemptsBefore: number;
  createdAt: Date;
  waitingSince: Date;
  startedAt?: Date;
  /** When the latest run began. */
  claimedAt?: Date;
  /** The run has ended, but not the job: it waits for its shards. */
  parked: boolean;
  finishedAt?: Date;
  /** How the job had ended before it was retried, oldest first. */
  history: PastEnd[];
  /** After a failed run: when the next one may begin. */
  retryAt?: Date;
  /** Without the finished epochs, which `epochs` gives. */
  progress?: Progress;
  result?: Record<string, unknown>;
  error?: ProblemRecord;
  /** Predict jobs: images answered, and images planned once the plan is made. */
  done: number;
  total?: number;
  /** How much there is to do, where that is known when the job is accepted. */
  work?: Work;
  /** Grows with every change. */
  revision: number;
}

/** An amount of work; its sort says what one unit takes (speed.ts). */
export interface Work {
  sort: string;
  amount: number;
}

export interface PastEnd {
  state: "failed" | "cancelled" | "completed";
  finishedAt: Date;
  attempts: number;
  error?: ProblemRecord;
}

export interface NewJob {
  id: string;
  kind: JobKind;
  request: Record<string, unknown>;
  payload: Record<string, unknown>;
  priority: number;
  work?: Work;
  createdBy?: string;
  idempotency?: { keyDigest: string; requestDigest: string };
}

export interface Claim {
  /** Grows with every claim of the job; names this run of it. */
  fence: number;
  attempts: number;
  /** The shards of a predict job were added already. */
  planned: boolean;
  waitingSince: Date;
  /** When the first run began. */
  startedAt: Date;
  /** The run before has not ended: its worker went silent. */
  takenOver: boolean;
  work: Work | undefined;
}

/** An Idempotency-Key is remembered for a day. */
const IDEMPOTENCY_SECONDS = 24 * 3600;

export class JobRecords {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #retentionSeconds: number;

  constructor(redis: Redis, keys: Keys, retentionSeconds: number) {
    this.#redis = redis;
    this.#keys = keys;
    this.#retentionSeconds = retentionSeconds;
    defineTransitions(redis);
  }

  /** `known`: the same request came before under the same Idempotency-Key; `id` is the job of then. */
  async create(
    job: NewJob,
  ): Promise<{ outcome: "created"; record: JobRecord } | { outcome: "known" | "conflict"; id: string }> {
    const now = Date.now();
    const keys = this.#keys;
    const values: Record<string, string | number> = {
      kind: job.kind,
      state: "waiting",
      request: JSON.stringify(job.request),
      payload: JSON.stringify(job.payload),
      priority: job.priority,
      attempts: 0,
      fence: 0,
      rev: 1,
      createdAt: now,
      waitingSince: now,
      ...(job.work && { work: JSON.stringify(job.work) }),
      ...(job.createdBy !== undefined && { createdBy: job.createdBy }),
    };
    const [outcome, id] = await this.#redis.cardinalCreate(
      keys.job(job.id),
      keys.jobs,
      keys.open,
      keys.waiting(job.kind),
      keys.idempotency(job.idempotency?.keyDigest ?? ""),
      job.id,
      now,
      job.idempotency?.requestDigest ?? "",
      IDEMPOTENCY_SECONDS,
      ...fields(values),
    );
    if (outcome !== "created") return { outcome, id };
    const hash = Object.fromEntries(Object.entries(values).map(([field, value]) => [field, String(value)]));
    return { outcome, record: parseRecord(id, hash)! };
  }

  async get(id: string): Promise<JobRecord | undefined> {
    return parseRecord(id, await this.#redis.hgetall(this.#keys.job(id)));
  }

  async getMany(ids: readonly string[]): Promise<(JobRecord | undefined)[]> {
    if (ids.length === 0) return [];
    const pipeline = this.#redis.pipeline();
    for (const id of ids) pipeline.hgetall(this.#keys.job(id));
    const replies = (await pipeline.exec()) ?? [];
    return replies.map(([error, hash], index) => {
      if (error) throw error;
      return parseRecord(ids[index]!, hash as Record<string, string>);
    });
  }

  /** Those of the jobs that are in a state. */
  async inState(ids: readonly string[], state: JobState): Promise<string[]> {
    const states = await this.fields(ids, ["state"]);
    return ids.filter((_, index) => states[index]![0] === state);
  }

  /** Fields of many records, by record, as they are stored; null what there is not. */
  async fields(ids: readonly string[], names: readonly string[]): Promise<(string | null)[][]> {
    if (ids.length === 0) return [];
    const pipeline = this.#redis.pipeline();
    for (const id of ids) pipeline.hmget(this.#keys.job(id), ...names);
    const replies = (await pipeline.exec()) ?? [];
    return replies.map(([error, values]) => {
      if (error) throw error;
      return values as (string | null)[];
    });
  }

  /** Takes the job for one run; undefined when it has ended (or its record is gone) and must not run. */
  async claim(kind: JobKind, id: string): Promise<Claim | undefined> {
    const claimed = await this.#redis.cardinalClaim(this.#keys.job(id), this.#keys.waiting(kind), id, Date.now());
    const [outcome, fence, attempts, planned, since, started, before, parked, work] = claimed;
    if (outcome !== "claimed") return undefined;
    return {
      fence: Number(fence),
      attempts: Number(attempts),
      planned: planned === "1",
      waitingSince: new Date(Number(since)),
      startedAt: new Date(Number(started)),
      takenOver: before === "active" && parked !== "1",
      work: work ? JSON.parse(String(work)) : undefined,
    };
  }

  /**
   * Writes fields of an active job (or only asks, without fields). Gives `ok`, or why the writer must stop: `cancelled`,
   * `fenced` (a later claim), `missing`, or another state.
   */
  write(id: string, fence: number, values: Record<string, string | number> = {}): Promise<string> {
    return this.#redis.cardinalWrite(this.#keys.job(id), fence, ...fields(values));
  }

  /**
   * Writes the progress of an active job, and of its finished epochs those from number `keep` on, which replace what was
   * kept of them; without `epochs` these stay as they are. Gives what `write` gives.
   */
  writeProgress(
    id: string,
    fence: number,
    progress: Omit<Progress, "epochs">,
    epochs?: { keep: number; added: readonly Epoch[] },
  ): Promise<string> {
    return this.#redis.cardinalProgress(
      this.#keys.job(id),
      this.#keys.epochs(id),
      fence,
      JSON.stringify(progress),
      this.#retentionSeconds,
      epochs?.keep ?? "",
      ...(epochs?.added ?? []).map((epoch) => JSON.stringify(epoch)),
    );
  }

  /** The finished epochs of a training job, from number `from` on. */
  async epochs(id: string, from = 0): Promise<Epoch[]> {
    const texts = await this.#redis.lrange(this.#keys.epochs(id), from, -1);
    return texts.map((text) => epochSchema.parse(JSON.parse(text)));
  }

  /** The first end wins: gives false when the job has ended before or another worker has it. Without fence: anybody. */
  async finish(
    kind: JobKind,
    id: string,
    fence: number | undefined,
    end: { result: Record<string, unknown> } | { error: ProblemRecord; result?: Record<string, unknown> },
  ): Promise<boolean> {
    const values: Record<string, string | number> = {
      state: "error" in end ? "failed" : "completed",
      finishedAt: Date.now(),
    };
    if (end.result !== undefined) values.result = JSON.stringify(end.result);
    if ("error" in end) values.error = JSON.stringify(end.error);
    const keys = this.#keys;
    const outcome = await this.#redis.cardinalFinish(
      keys.job(id),
      keys.open,
      keys.waiting(kind),
      id,
      fence ?? "",
      this.#retentionSeconds,
      ...fields(values),
    );
    return outcome === "ok";
  }

  /**
   * Back to waiting, after a failed run until `retryAt`. Without: the run did not fail, its next claim uses no attempt.
   * `replan`: what the job's shards have made is gone, so it is planned again.
   */
  async requeue(kind: JobKind, id: string, fence: number, retryAt?: number, replan = false): Promise<boolean> {
    const outcome = await this.#redis.cardinalRequeue(
      this.#keys.job(id),
      this.#keys.waiting(kind),
      id,
      fence,
      Date.now(),
      retryAt === undefined ? "1" : "0",
      retryAt ?? "",
      replan ? "1" : "0",
    );
    return outcome === "ok";
  }

  /** Gives the state before; `cancelled` again is a no-op; a job that ended or is sealed is refused. */
  async cancel(kind: JobKind, id: string): Promise<JobState> {
    const keys = this.#keys;
    const before = await this.#redis.cardinalCancel(
      keys.job(id),
      keys.open,
      keys.waiting(kind),
      id,
      Date.now(),
      this.#retentionSeconds,
    );
    if (before === "missing") throw problem("job_not_found", `there is no job ${id}`);
    if (before === "sealed") {
      throw problem("job_already_finished", `job ${id} is publishing its result and can no longer be cancelled`);
    }
    if (before === "completed" || before === "failed") {
      throw problem("job_already_finished", `job ${id} has already ${before}`, { state: before });
    }
    return before as JobState;
  }

  /**
   * A job that failed or was cancelled (with `completed` one that was completed, too) waits again with a new budget of
   * attempts; its id, its fence and its history go on. Throws `job_not_found`,
   * `job_not_retryable`.
   */
  async requeueEnded(kind: JobKind, id: string, completed: boolean): Promise<void> {
    const keys = this.#keys;
    const before = await this.#redis.cardinalRequeueEnded(
      keys.job(id),
      keys.jobs,
      keys.open,
      keys.waiting(kind),
      id,
      Date.now(),
      completed ? "1" : "0",
    );
    if (before === "failed" || before === "cancelled") return;
    if (before === "completed" && completed) return;
    if (before === "missing") throw problem("job_not_found", `there is no job ${id}`);
    throw problem("job_not_retryable", `job ${id} is ${before}: only what failed or was cancelled can be retried`, {
      state: before,
    });
  }

  /** Removes the record of a job: of an ended one, or (withdrawn) of one that was never accepted. */
  async forget(kind: JobKind, id: string, mustHaveEnded: boolean): Promise<void> {
    const keys = this.#keys;
    const outcome = await this.#redis.cardinalForget(
      keys.job(id),
      keys.jobs,
      keys.open,
      keys.waiting(kind),
      keys.shards(id),
      keys.epochs(id),
      keys.log(id),
      id,
      mustHaveEnded ? "1" : "0",
    );
    if (outcome === "ok") return;
    if (outcome === "missing") throw problem("job_not_found", `there is no job ${id}`);
    throw problem("job_not_finished", `job ${id} is ${outcome}: cancel it first`, { state: outcome });
  }

  /** Before a plan's shards are added: those of an earlier plan no longer count. */
  async forgetShards(id: string): Promise<void> {
    await this.#redis.del(this.#keys.shards(id));
  }

  /** Counts the images of a finished shard, once. */
  async shardDone(id: string, shard: number, images: number): Promise<void> {
    await this.#redis.cardinalShardDone(
      this.#keys.job(id),
      this.#keys.shards(id),
      shard,
      images,
      this.#retentionSeconds,
    );
  }
}

function fields(values: Record<string, string | number>): (string | number)[] {
  return Object.entries(values).flat();
}

function parseRecord(id: string, hash: Record<string, string>): JobRecord | undefined {
  if (hash.state === undefined) return undefined;
  const json = (text: string | undefined) => (text === undefined ? undefined : JSON.parse(text));
  const date = (text: string | undefined) => (text === undefined ? undefined : new Date(Number(text)));
  return {
    id,
    kind: hash.kind as JobKind,
    state: hash.state as JobState,
    request: json(hash.request) ?? {},
    payload: json(hash.payload) ?? {},
    priority: Number(hash.priority),
    createdBy: hash.createdBy,
    attempts: Number(hash.attempts),
    attemptsBefore: Number(hash.attemptsBefore ?? 0),
    createdAt: new Date(Number(hash.createdAt)),
    waitingSince: new Date(Number(hash.waitingSince)),
    startedAt: date(hash.startedAt),
    claimedAt: date(hash.claimedAt),
    parked: hash.parked === "1",
    finishedAt: date(hash.finishedAt),
    history: (json(`[${hash.history ?? ""}]`) as (Omit<PastEnd, "finishedAt"> & { finishedAt: number })[]).map(
      (past) => ({ ...past, finishedAt: new Date(past.finishedAt) }),
    ),
    retryAt: date(hash.retryAt),
    progress: json(hash.progress),
    result: json(hash.result),
    error: json(hash.error),
    done: Number(hash.done ?? 0),
    total: hash.total === undefined ? undefined : Number(hash.total),
    work: json(hash.work),
    revision: Number(hash.rev ?? 0),
  };
}
