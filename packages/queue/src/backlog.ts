/**
 * How much work there is, in seconds, and when a job's turn comes: from the records of the open jobs and the speed that
 * was measured (speed.ts). All of it is read from Redis, so every API replica says the same.
 *
 * The estimates: jobs of a kind are given to its workers in the order of priority and waiting time, each worker one at a
 * time. Predict jobs share all predict-workers through their shards: what comes before one is taken as one stream.
 * Without any live worker times are those that a single one would take.
 */
import { type JobKind, jobKindSchema, type Progress, type QueueName, type WorkerView } from "@cardinal/contracts";
import type { Redis } from "ioredis";
import type { Keys } from "./keys.ts";
import type { JobRecord, JobRecords, Work } from "./records.ts";
import { FleetSpeed } from "./speed.ts";

/** Open jobs that are looked at, the oldest; more are taken to be like these. */
const LOOKED_AT = 2_000;

export type OpenJob = Pick<
  JobRecord,
  | "id"
  | "kind"
  | "state"
  | "priority"
  | "waitingSince"
  | "retryAt"
  | "startedAt"
  | "progress"
  | "done"
  | "total"
  | "work"
>;

const FIELDS = [
  "kind",
  "state",
  "priority",
  "waitingSince",
  "retryAt",
  "startedAt",
  "progress",
  "done",
  "total",
  "work",
];

/** What stands before a job. Seconds are undefined while the speed of some of the work was never measured. */
export interface Turn {
  jobsAhead: number;
  secondsAhead: number | undefined;
  /** Until the job itself is done. */
  etaSeconds: number | undefined;
}

/** The jobs of a kind in their order, and for each (and for what comes after the last) the seconds until its turn. */
interface Line {
  jobs: readonly OpenJob[];
  starts: readonly number[];
}

export class Backlog {
  readonly workers: readonly WorkerView[];
  readonly #jobs: readonly OpenJob[];
  /** Open jobs for each one of `#jobs`. */
  readonly #scale: number;
  readonly #speed: FleetSpeed;
  readonly #now: number;
  readonly #lines = new Map<JobKind, Line>();

  constructor(jobs: readonly OpenJob[], scale: number, speed: FleetSpeed, workers: readonly WorkerView[], now: number) {
    this.#jobs = jobs;
    this.#scale = scale;
    this.#speed = speed;
    this.workers = workers;
    this.#now = now;
  }

  static async read(redis: Redis, keys: Keys, records: JobRecords, workers: readonly WorkerView[]): Promise<Backlog> {
    const [ids, open, speed] = await Promise.all([
      redis.zrange(keys.open, "0", String(LOOKED_AT - 1)),
      redis.zcard(keys.open),
      FleetSpeed.read(redis, keys, workers),
    ]);
    const jobs = (await records.fields(ids, FIELDS)).flatMap((values, index) => openJob(ids[index]!, values));
    return new Backlog(jobs, Math.max(1, open / LOOKED_AT), speed, workers, Date.now());
  }

  /** Seconds of work of the queue for its live workers; undefined when there is some and none was ever measured. */
  seconds(queue: QueueName, waitingImages: number): number | undefined {
    if (queue === "image") return this.#share(this.#speed.seconds({ sort: "image", amount: waitingImages }), queue);
    const all = this.#jobs.flatMap((job) => {
      if (queue === "shard") return isPlanned(job) ? [this.#shardSeconds(job)] : [];
      return job.kind === queue && !(queue === "predict" && isPlanned(job)) ? [this.#secondsOf(job)] : [];
    });
    if (all.length === 0) return 0;
    const known = all.filter((seconds) => seconds !== undefined);
    if (known.length === 0) return undefined;
    const sum = (known.reduce((total, seconds) => total + seconds, 0) * all.length) / known.length;
    return this.#share(sum * this.#scale, workedBy(queue));
  }

  turn(job: OpenJob): Turn {
    const line = this.#line(job.kind);
    const place = placeIn(line.jobs, job);
    // Beyond what was looked at, the line is taken to go on as it began.
    const scale = place < line.jobs.length ? 1 : this.#scale;
    const start = line.starts[place]!;
    const secondsAhead = Number.isFinite(start) ? start * scale : undefined;
    const own = this.#secondsOf(job);
    const ownShare = own !== undefined && job.kind === "predict" ? this.#share(own, "shard") : own;
    const etaSeconds = secondsAhead === undefined || ownShare === undefined ? undefined : secondsAhead + ownShare;
    return { jobsAhead: Math.round(place * scale), secondsAhead, etaSeconds };
  }

  /** Made once for each kind: a list of jobs asks for many places in it. */
  #line(kind: JobKind): Line {
    let line = this.#lines.get(kind);
    if (!line) {
      const isReady = ({ retryAt }: OpenJob) => !retryAt || retryAt.getTime() <= this.#now;
      const jobs = this.#jobs.filter((job) => job.kind === kind && isReady(job)).sort(byTurn);
      line = { jobs, starts: kind === "predict" ? this.#streamStarts(jobs) : this.#slotStarts(jobs, kind) };
      this.#lines.set(kind, line);
    }
    return line;
  }

  /** Each job is given to the worker that is free first. One whose time is not known keeps its worker for good. */
  #slotStarts(jobs: readonly OpenJob[], kind: JobKind): number[] {
    const free = new Array<number>(Math.max(1, this.#speed.workers(kind))).fill(0);
    const starts = [0];
    for (const job of jobs) {
      const first = free.indexOf(Math.min(...free));
      free[first]! += this.#secondsOf(job) ?? Number.POSITIVE_INFINITY;
      starts.push(Math.min(...free));
    }
    return starts;
  }

  /** All workers are at one job after the other. */
  #streamStarts(jobs: readonly OpenJob[]): number[] {
    const starts = [0];
    for (const job of jobs) {
      const seconds = this.#share(this.#secondsOf(job), "shard") ?? Number.POSITIVE_INFINITY;
      starts.push(starts.at(-1)! + seconds);
    }
    return starts;
  }

  #share(seconds: number | undefined, queue: QueueName): number | undefined {
    return seconds === undefined ? undefined : seconds / Math.max(1, this.#speed.workers(queue));
  }

  /** What is left of a job for one worker. */
  #secondsOf(job: OpenJob): number | undefined {
    const { kind, work, progress, state } = job;
    if (kind === "predict") {
      if (isPlanned(job)) return this.#shardSeconds(job);
      return work && this.#speed.seconds(work);
    }
    if (state === "active" && progress?.etaSeconds !== undefined) return progress.etaSeconds;
    const left = state === "active" && progress ? 1 - progress.percent / 100 : 1;
    const whole = (work && (this.#speed.seconds(work) ?? this.#pace(kind, work))) ?? this.#speed.runSeconds(kind);
    return whole === undefined ? undefined : whole * Math.max(0, left);
  }

  /** What is left of the shards of a planned job: images to predict, or whose features a training job waits for. */
  #shardSeconds({ kind, total, done, work }: OpenJob): number | undefined {
    const sort = kind === "predict" ? (work?.sort ?? "shard") : "shard";
    return this.#speed.seconds({ sort, amount: Math.max(0, total! - done) });
  }

  /** What never ended well yet may run now: the work takes as long as that one's pace says. */
  #pace(kind: JobKind, { amount }: Work): number | undefined {
    const running = this.#jobs.find(
      (job) =>
        job.kind === kind && job.state === "active" && job.work && job.startedAt && (job.progress?.percent ?? 0) > 0,
    );
    if (!running) return undefined;
    const done = (running.work!.amount * running.progress!.percent) / 100;
    return (amount / done) * ((this.#now - running.startedAt!.getTime()) / 1000);
  }
}

/** Those that run, then the waiting ones in the order in which they are taken. */
function byTurn(a: OpenJob, b: OpenJob): number {
  const isActive = Number(b.state === "active") - Number(a.state === "active");
  return (
    isActive ||
    a.priority - b.priority ||
    a.waitingSince.getTime() - b.waitingSince.getTime() ||
    (a.id < b.id ? -1 : Number(a.id > b.id))
  );
}

/** How many of the line's jobs come before this one, which need not be among them. */
function placeIn(jobs: readonly OpenJob[], job: OpenJob): number {
  let [low, high] = [0, jobs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (byTurn(jobs[middle]!, job) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Work of it is in the queue of shards. */
const isPlanned = (job: OpenJob): boolean => job.total !== undefined;

/** The queue whose workers do the work. */
const workedBy = (queue: QueueName): QueueName => (queue === "predict" ? "shard" : queue);

function openJob(id: string, values: readonly (string | null)[]): OpenJob[] {
  const [kind, state, priority, since, retryAt, startedAt, progress, done, total, work] = values;
  const parsed = jobKindSchema.safeParse(kind);
  if (!parsed.success || (state !== "waiting" && state !== "active")) return [];
  return [
    {
      id,
      kind: parsed.data,
      state,
      priority: Number(priority),
      waitingSince: new Date(Number(since)),
      done: Number(done ?? 0),
      ...(retryAt && { retryAt: new Date(Number(retryAt)) }),
      ...(startedAt && { startedAt: new Date(Number(startedAt)) }),
      ...(progress && { progress: JSON.parse(progress) as Progress }),
      ...(total && { total: Number(total) }),
      ...(work && { work: JSON.parse(work) as Work }),
    },
  ];
}
