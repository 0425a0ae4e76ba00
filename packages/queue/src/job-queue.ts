/**
 * The producer's side: accept jobs, show them, cancel them, count them. Used by the API, any number of processes of it.
 *
 * A job is accepted when its record is written; adding it to BullMQ comes after. A process that dies between the two
 * leaves a record without an entry, which `repair` finds and adds (as it does after Redis lost an entry).
 */
import { createHash, randomUUID } from "node:crypto";
import {
  type Epoch,
  hasEnded,
  type JobKind,
  type JobState,
  type LogLine,
  type Payloads,
  payloadSchemas,
  problem,
  type QueueName,
  queueNames,
  toProblem,
  type WorkerView,
} from "@cardinal/contracts";
import type { Redis } from "ioredis";
import { monotonicFactory } from "ulid";
import { Backlog } from "./backlog.ts";
import { type BullQueues, closeBullQueues, openBullQueues } from "./bull.ts";
import { checkRedis, guarded, openProducer, type RedisFacts, whenReady } from "./connection.ts";
import { forgetDeadWorkers, listWorkers } from "./fleet.ts";
import { holdIngests, type IngestHold } from "./ingest-hold.ts";
import { type JobPage, type ListOptions, listJobs } from "./job-list.ts";
import { JobLog } from "./job-log.ts";
import { type Keys, keysOf } from "./keys.ts";
import { jobOptions, policies } from "./policy.ts";
import { type JobRecord, JobRecords, type Work } from "./records.ts";
import { forgetOldSpeeds } from "./speed.ts";

export interface QueueConfig {
  redisUrl: string;
  /** Prefix of every key, so that several Cardinals can share a Redis. */
  namespace: string;
  /** How long ended jobs can be asked for, in seconds. */
  retentionSeconds: number;
}

export interface EnqueueOptions {
  request: Record<string, unknown>;
  asked?: unknown;
  priority: number;
  /** Its own for each key that submits. */
  idempotencyKey?: string;
  /** How much there is to do, where that is known. */
  work?: Work;
  /** Name of the key that submits. */
  createdBy?: string;
  confirm?(job: Pick<JobRecord, "id" | "kind" | "payload">): Promise<void>;
}

export interface QueueDepth {
  waiting: number;
  active: number;
  delayed: number;
  oldestWaitingSeconds: number;
}

/** A record that was not touched for so long and has no BullMQ entry was left behind by a process that died. */
const LEFT_BEHIND_MS = 30_000;

/** How long a reading of the backlog is used, at least; as many times as long as it took, so that it costs little. */
const BACKLOG_MS = 50;
const BACKLOG_PAUSE = 20;

/** Ids of one process rise within a millisecond, too, so that jobs are listed in the order in which they came. */
const ulid = monotonicFactory();

export class JobQueue {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #records: JobRecords;
  readonly #log: JobLog;
  readonly #bull: BullQueues;
  #backlog: Promise<Backlog> | undefined;
  #backlogUntil = 0;

  private constructor(redis: Redis, keys: Keys, records: JobRecords, log: JobLog, bull: BullQueues) {
    this.#redis = redis;
    this.#keys = keys;
    this.#records = records;
    this.#log = log;
    this.#bull = bull;
  }

  /** Throws `queue_unavailable` or `redis_misconfigured`. `onError` hears of connection errors later on. */
  static async open(config: QueueConfig, onError: (error: Error) => void): Promise<JobQueue> {
    const redis = openProducer(config.redisUrl, onError);
    try {
      await whenReady(redis);
      await checkRedis(redis);
    } catch (error) {
      redis.disconnect();
      throw error;
    }
    const keys = keysOf(config.namespace);
    const records = new JobRecords(redis, keys, config.retentionSeconds);
    const log = new JobLog(redis, keys, config.retentionSeconds);
    return new JobQueue(redis, keys, records, log, openBullQueues(redis, keys, onError));
  }

  static newId(kind: JobKind): string {
    return `${kind}-${ulid().toLowerCase()}`;
  }

  /**
   * Accepts a job. With an Idempotency-Key the same request gives the job of the first time (`created` false), another
   * request under the same key throws `idempotency_conflict`. `asked` is what the caller sent, where `request` has more:
   * names that were pinned may mean something else at the second time. `confirm`, when given, is asked once the job
   * counts as open (so nothing that it uses can be deleted any more): when it throws, there is no job.
   */
  async enqueue<K extends JobKind>(
    kind: K,
    payload: Payloads[K],
    options: EnqueueOptions,
  ): Promise<{ job: JobRecord; created: boolean }> {
    const parsed = payloadSchemas[kind].parse(payload) as Payloads[K];
    return guarded(async () => {
      const idempotency = options.idempotencyKey && {
        keyDigest: sha256(`${kind}\n${options.createdBy ?? ""}\n${options.idempotencyKey}`),
        requestDigest: sha256(JSON.stringify(options.asked ?? options.request)),
      };
      const made = await this.#records.create({
        id: parsed.job,
        kind,
        request: options.request,
        payload: parsed,
        priority: options.priority,
        ...(options.work && { work: options.work }),
        createdBy: options.createdBy,
        ...(idempotency && { idempotency }),
      });
      if (made.outcome === "conflict") {
        throw problem("idempotency_conflict", "the Idempotency-Key was used with another request", { job: made.id });
      }
      if (made.outcome !== "created") return { job: await this.get(made.id), created: false };
      const { id } = made.record;
      await options.confirm?.({ id, kind, payload: parsed }).catch(async (error) => {
        await this.#records.forget(kind, id, false);
        throw error;
      });
      await this.#add(kind, id, parsed, options.priority);
      // As it was accepted; a worker may have begun it by now.
      return { job: made.record, created: true };
    });
  }

  /** Throws `job_not_found`. */
  async get(id: string): Promise<JobRecord> {
    const job = await guarded(() => this.#records.get(id));
    if (!job) throw problem("job_not_found", `there is no job ${id}`);
    return job;
  }

  /** A page of jobs, from the newest to the oldest. Throws `invalid_request` for a bad cursor. */
  list(options: ListOptions): Promise<JobPage> {
    return guarded(() => listJobs(this.#redis, this.#keys, this.#records, options));
  }

  /** The finished epochs of a training job, from number `from` on. */
  epochs(id: string, from = 0): Promise<Epoch[]> {
    return guarded(() => this.#records.epochs(id, from));
  }

  /** Lines of a job's log in the order in which they came, at most `limit` after the line `after`. */
  log(id: string, options: { after?: string; limit: number }): Promise<LogLine[]> {
    return guarded(() => this.#log.read(id, options));
  }

  /** Cancels a waiting or active job; a second cancel is a no-op. Throws `job_not_found`, `job_already_finished`. */
  async cancel(id: string): Promise<{ job: JobRecord; before: JobState }> {
    return guarded(async () => {
      const known = await this.get(id);
      const before = await this.#records.cancel(known.kind, id);
      // Its entry would only find that the job has ended; an active one is held by a worker, which sees the record.
      if (before === "waiting") await this.#bull[known.kind].remove(id).catch(() => 0);
      if (before !== "cancelled") await this.#log.add(id, "info", "cancelled by request", { before });
      return { job: await this.get(id), before };
    });
  }

  /**
   * Runs a failed or cancelled job, or a completed batch job with failed inputs, again under the same id: a new budget of attempts, the history kept. `check`, when
   * given, is asked once the job counts as open (so nothing that it uses can be deleted any more); when it throws, the
   * job fails with what was thrown, and the caller hears of it. Throws `job_not_found`, `job_not_retryable`.
   */
  async requeueEnded(id: string, check?: (job: JobRecord) => Promise<void>): Promise<JobRecord> {
    return guarded(async () => {
      const { kind, result } = await this.get(id);
      // A completed batch job without an answer for some inputs: these alone are run again.
      const hasFailures = kind === "predict" && Number(result?.failed) > 0;
      await this.#records.requeueEnded(kind, id, hasFailures);
      const job = await this.get(id);
      try {
        await check?.(job);
      } catch (error) {
        await this.#records.finish(kind, id, undefined, { error: toProblem(error).toRecord() });
        throw error;
      }
      // The entry of the last run may still be held by a worker that is about to let go of it: that worker adds it anew.
      await this.#add(kind, id, job.payload, job.priority);
      await this.#log.add(id, "info", "waits again by request", { attempts: job.attempts });
      return job;
    });
  }

  /** Removes the record of an ended job. Throws `job_not_found`, `job_not_finished`. */
  async forget(id: string): Promise<void> {
    await guarded(async () => this.#records.forget((await this.get(id)).kind, id, true));
  }

  /** All jobs that have not ended. */
  async openJobs(): Promise<JobRecord[]> {
    return guarded(async () => {
      const jobs = await this.#records.getMany(await this.#redis.zrange(this.#keys.open, "0", "-1"));
      return jobs.filter((job) => job !== undefined && !hasEnded(job.state)) as JobRecord[];
    });
  }

  /** Ids of those that one key has made, in the same order, without reading the jobs themselves. */
  async openJobsBy(name: string): Promise<string[]> {
    return guarded(async () => {
      const ids = await this.#redis.zrange(this.#keys.open, "0", "-1");
      const found = await this.#records.fields(ids, ["state", "createdBy"]);
      return ids.filter((_, index) => {
        const [state, createdBy] = found[index]!;
        return createdBy === name && state != null && !hasEnded(state as JobState);
      });
    });
  }

  workers(): Promise<WorkerView[]> {
    return guarded(() => listWorkers(this.#redis, this.#keys));
  }

  /** What there is to do, a moment ago: one reading serves all views of that moment. */
  backlog(): Promise<Backlog> {
    if (!this.#backlog || performance.now() > this.#backlogUntil) {
      const began = performance.now();
      this.#backlogUntil = Number.POSITIVE_INFINITY;
      this.#backlog = guarded(async () => {
        const workers = await listWorkers(this.#redis, this.#keys);
        return Backlog.read(this.#redis, this.#keys, this.#records, workers);
      });
      const keep = () => {
        const took = performance.now() - began;
        this.#backlogUntil = performance.now() + Math.max(BACKLOG_MS, BACKLOG_PAUSE * took);
      };
      // A failure is told to those who asked, and is not kept.
      this.#backlog.then(keep, () => {
        this.#backlog = undefined;
      });
    }
    return this.#backlog;
  }

  /** Seconds of work of each queue, at the speed of its live workers; undefined what was never measured. */
  async backlogSeconds(depths: Record<QueueName, QueueDepth>): Promise<Record<QueueName, number | undefined>> {
    const backlog = await this.backlog();
    const entries = queueNames.map((name) => [name, backlog.seconds(name, depths[name].waiting)] as const);
    return Object.fromEntries(entries) as Record<QueueName, number | undefined>;
  }

  /** Queue gauges, read from Redis, so the same from every replica of the API. */
  async depths(): Promise<Record<QueueName, QueueDepth>> {
    const entries = await guarded(() =>
      Promise.all(queueNames.map(async (name) => [name, await this.#depth(name)] as const)),
    );
    return Object.fromEntries(entries) as Record<QueueName, QueueDepth>;
  }

  /** Throws `queue_unavailable` unless Redis answers now. */
  async check(): Promise<RedisFacts> {
    return guarded(() => checkRedis(this.#redis));
  }

  /** Random id of what lives in this Redis and namespace, made by the first who asks. */
  async installation(): Promise<string> {
    return guarded(async () => {
      await this.#redis.set(this.#keys.installation, randomUUID(), "NX");
      return (await this.#redis.get(this.#keys.installation))!;
    });
  }

  /** True for one caller at a time, for `seconds`. */
  async becomeHousekeeper(seconds: number): Promise<boolean> {
    return (
      (await guarded(() => this.#redis.set(this.#keys.housekeeper, String(process.pid), "EX", seconds, "NX"))) === "OK"
    );
  }

  /** Keeps ingests from writing for some seconds; undefined while one is active. */
  async holdIngests(): Promise<IngestHold | undefined> {
    const isIngesting = async () =>
      (await this.openJobs()).some(({ kind, state }) => kind === "ingest" && state === "active");
    return guarded(() => holdIngests(this.#redis, this.#keys, isIngesting));
  }

  /** False for `seconds` after it was last true; `scheduleCollection` makes it true earlier. */
  async isCollectionDue(seconds: number): Promise<boolean> {
    return guarded(async () => (await this.#redis.set(this.#keys.imagesCollected, "1", "EX", seconds, "NX")) === "OK");
  }

  /** Unwanted images are to be looked for in the next round, or in so many seconds. */
  async scheduleCollection(inSeconds = 0): Promise<void> {
    const key = this.#keys.imagesCollected;
    await guarded(async () => {
      if (inSeconds > 0) await this.#redis.set(key, "1", "EX", inSeconds);
      else await this.#redis.del(key);
    });
  }

  /**
   * Adds again what has a record that has not ended but no BullMQ entry, fails what was lost too often, and drops what
   * has expired from the indices. Gives the ids that were added.
   */
  async repair(now = Date.now()): Promise<string[]> {
    const added: string[] = [];
    const open = await this.#redis.zrangebyscore(this.#keys.open, "-inf", now - LEFT_BEHIND_MS);
    for (const job of await this.#records.getMany(open)) {
      if (!job || hasEnded(job.state)) continue;
      if (await this.#bull[job.kind].getJob(job.id)) continue;
      const begun = job.attempts - job.attemptsBefore;
      if (begun > policies[job.kind].lostWorkers) {
        const message = `the job was begun ${begun} times and never came to an end`;
        await this.#records.finish(job.kind, job.id, undefined, { error: { code: "job_lost", message } });
        continue;
      }
      await this.#add(job.kind, job.id, job.payload, job.priority);
      added.push(job.id);
    }
    await this.#dropExpired();
    await forgetDeadWorkers(this.#redis, this.#keys);
    await forgetOldSpeeds(this.#redis, this.#keys);
    return added;
  }

  async close(): Promise<void> {
    await closeBullQueues(this.#bull);
    this.#redis.disconnect();
  }

  async #add(kind: JobKind, id: string, payload: unknown, priority: number): Promise<void> {
    await this.#bull[kind].add(kind, payload, jobOptions(kind, id, priority));
  }

  async #depth(name: QueueName): Promise<QueueDepth> {
    const queue = this.#bull[name];
    const counts = await queue.getJobCounts("waiting", "prioritized", "active", "delayed");
    const waiting = (counts.waiting ?? 0) + (counts.prioritized ?? 0);
    return {
      waiting,
      active: counts.active ?? 0,
      delayed: counts.delayed ?? 0,
      oldestWaitingSeconds: waiting > 0 ? await this.#oldestWaiting(name) : 0,
    };
  }

  /** For jobs exactly; for shards and images the age of the head of the line. */
  async #oldestWaiting(name: QueueName): Promise<number> {
    const [, since] = await this.#redis.zrange(this.#keys.waiting(name), "0", "0", "WITHSCORES");
    let oldest = since === undefined ? undefined : Number(since);
    if (oldest === undefined) {
      const [head] = await this.#bull[name].getJobs(["waiting", "prioritized"], 0, 0, true);
      oldest = head?.timestamp;
    }
    return oldest === undefined ? 0 : Math.max(0, (Date.now() - oldest) / 1000);
  }

  /** Records expire by themselves; their ids must leave the indices. Looks at the oldest thousand. */
  async #dropExpired(): Promise<void> {
    const ids = await this.#redis.zrange(this.#keys.jobs, "0", "999");
    const records = await this.#records.getMany(ids);
    const gone = ids.filter((_, index) => records[index] === undefined);
    if (gone.length > 0) {
      await this.#redis
        .multi()
        .zrem(this.#keys.jobs, ...gone)
        .zrem(this.#keys.open, ...gone)
        .exec();
    }
  }

  /** For what shares the connection: the image caller, API keys. */
  get internals() {
    return { redis: this.#redis, keys: this.#keys, bull: this.#bull };
  }
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
