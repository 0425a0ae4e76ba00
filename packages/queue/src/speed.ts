/**
 * How fast work is done, by its sort: the measure behind `cardinal_backlog_seconds` and every ETA of a waiting job.
 *
 * A sort is a queue (`shard`), a queue with what its work depends on (`shard:<model>`, `train:<architecture>:<part>`),
 * whose speed is in units a second (images, bytes), or `<queue>#run`, whose value is the mean seconds of a run. Workers
 * measure each piece of work that ended well. Each tells its own means in its heartbeat; a hash in Redis remembers the
 * fleet's, so that the first job after a night without workers has an estimate, too.
 */
import type { WorkerView } from "@cardinal/contracts";
import type { Redis } from "ioredis";
import type { Keys } from "./keys.ts";
import type { Work } from "./records.ts";
import { defineTransitions } from "./transitions.ts";

/** Weight of a new measurement in an exponential moving average: the last five count for 83%. */
const WEIGHT = 0.3;
/** Sorts that a worker tells, the latest used; a predict-worker keeps four models in memory. */
const TOLD = 12;
/** Sorts that are remembered; the oldest go. */
const REMEMBERED = 500;

/** Work that takes less says nothing about speed. */
const SHORTEST_SECONDS = 1e-3;

/** A worker's side. */
export class SpeedMeter {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #onError: (error: Error) => void;
  readonly #means = new Map<string, number>();

  constructor(redis: Redis, keys: Keys, onError: (error: Error) => void) {
    this.#redis = redis;
    this.#keys = keys;
    this.#onError = onError;
    defineTransitions(redis);
  }

  /** Work of this sort, and of its queue as a whole, took so long. */
  worked({ sort, amount }: Work, seconds: number): void {
    if (!(seconds >= SHORTEST_SECONDS) || !(amount > 0)) return;
    const queue = sort.split(":", 1)[0]!;
    for (const name of new Set([sort, queue])) this.#note(name, amount / seconds);
  }

  /** A run of a job of this queue took so long, start to end. */
  ran(queue: string, seconds: number): void {
    if (seconds >= SHORTEST_SECONDS) this.#note(runSort(queue), seconds);
  }

  /** For the heartbeat. */
  means(): Record<string, number> {
    return Object.fromEntries([...this.#means].slice(-TOLD));
  }

  #note(sort: string, value: number): void {
    const known = this.#means.get(sort);
    this.#means.delete(sort);
    this.#means.set(sort, known === undefined ? value : known + WEIGHT * (value - known));
    if (this.#means.size > 2 * TOLD) this.#means.delete(this.#means.keys().next().value!);
    this.#redis.cardinalSpeed(this.#keys.speeds, sort, value, Date.now(), WEIGHT).catch(this.#onError);
  }
}

const runSort = (queue: string): string => `${queue}#run`;

/** Forgets the sorts that were measured longest ago. */
export async function forgetOldSpeeds(redis: Redis, keys: Keys): Promise<void> {
  if ((await redis.hlen(keys.speeds)) <= REMEMBERED) return;
  const byAge = Object.entries(await redis.hgetall(keys.speeds))
    .map(([sort, text]) => ({ sort, at: Number(text.split(" ")[1]) }))
    .sort((a, b) => b.at - a.at);
  await redis.hdel(keys.speeds, ...byAge.slice(REMEMBERED).map(({ sort }) => sort));
}

/** What is known of the fleet's speed; times are those of one worker. */
export class FleetSpeed {
  readonly #remembered: ReadonlyMap<string, number>;
  readonly #workers: readonly WorkerView[];

  constructor(remembered: ReadonlyMap<string, number>, workers: readonly WorkerView[]) {
    this.#remembered = remembered;
    this.#workers = workers;
  }

  static async read(redis: Redis, keys: Keys, workers: readonly WorkerView[]): Promise<FleetSpeed> {
    const texts = Object.entries(await redis.hgetall(keys.speeds));
    return new FleetSpeed(new Map(texts.map(([sort, text]) => [sort, Number.parseFloat(text)])), workers);
  }

  /** Live workers of a queue. */
  workers(queue: string): number {
    return this.#workers.filter(({ queues }) => (queues as readonly string[]).includes(queue)).length;
  }

  /** Seconds that one worker takes for this much work; undefined when no such work was ever measured. */
  seconds({ sort, amount }: Work): number | undefined {
    const queue = sort.split(":", 1)[0]!;
    const perSecond = this.#mean(queue, sort) ?? this.#mean(queue, queue);
    return perSecond === undefined ? undefined : amount / perSecond;
  }

  /** Mean seconds of a run of the queue's jobs. */
  runSeconds(queue: string): number | undefined {
    return this.#mean(queue, runSort(queue));
  }

  /** Of the live workers of the queue that have measured it; of what is remembered when none has. */
  #mean(queue: string, sort: string): number | undefined {
    const told = this.#workers.flatMap(({ queues, speeds }) =>
      (queues as readonly string[]).includes(queue) && speeds?.[sort] !== undefined ? [speeds[sort]] : [],
    );
    if (told.length > 0) return told.reduce((sum, value) => sum + value, 0) / told.length;
    return this.#remembered.get(sort);
  }
}
