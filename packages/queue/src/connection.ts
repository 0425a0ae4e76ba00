/**
 * Connections to Redis, and what Cardinal asks of the server behind them.
 *
 * Producers (the API) must answer at once when Redis is gone: no offline queue, a time limit on every command.
 * Consumers (workers) must outlive any outage: they retry for ever.
 */
import { CardinalError, problem } from "@cardinal/contracts";
import { Redis } from "ioredis";

/** The longest that a producer waits for Redis, in milliseconds: callers are promised an answer within 2 s. */
const COMMAND_TIMEOUT_MS = 1_500;

export type RedisConnection = Redis;

const backoff = (times: number): number => Math.min(50 * 2 ** Math.min(times, 6), 2_000);

/** `onError` hears of every lost connection; ioredis goes on by itself. */
export function openProducer(url: string, onError: (error: Error) => void): Redis {
  const redis = new Redis(url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    connectTimeout: COMMAND_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    retryStrategy: backoff,
  });
  redis.on("error", onError);
  return redis;
}

export function openConsumer(url: string, onError: (error: Error) => void): Redis {
  const redis = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: backoff });
  redis.on("error", onError);
  return redis;
}

/** Resolves when the connection can be used; `queue_unavailable` after `timeoutMs`. */
export async function whenReady(redis: Redis, timeoutMs = 10_000): Promise<void> {
  if (redis.status === "ready") return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(() => reject(problem("queue_unavailable", "Redis cannot be reached")), timeoutMs);
  redis.once("ready", resolve);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    redis.off("ready", resolve);
  }
}

/** How long a process that ends waits for a Redis that is away, in milliseconds. */
const FAREWELL_MS = 2_000;
const FAREWELL_LOOK_MS = 100;

/**
 * Waits for what a consumer says when it ends; its commands would wait for ever for a Redis that is gone. So the wait
 * ends as well when `mayGiveUp` has held and Redis has been away for 2 s in a row: locks and heartbeats run out by
 * themselves.
 */
export async function farewell(redis: Redis, words: Promise<unknown>, mayGiveUp = () => true): Promise<void> {
  const { promise: givenUp, resolve } = Promise.withResolvers<void>();
  let away = 0;
  const timer = setInterval(() => {
    away = redis.status !== "ready" && mayGiveUp() ? away + FAREWELL_LOOK_MS : 0;
    if (away >= FAREWELL_MS) resolve();
  }, FAREWELL_LOOK_MS);
  try {
    await Promise.race([words, givenUp]);
  } finally {
    clearInterval(timer);
  }
}

export interface RedisFacts {
  version: string;
  /** Append-only file: without it a restart of Redis loses the jobs since its last snapshot. */
  appendOnly: boolean;
  usedBytes: number;
  /** 0: no limit. */
  maxBytes: number;
}

/**
 * Refuses (`redis_misconfigured`) a server that would lose jobs: older than 6.2, or one that evicts keys when its
 * memory is full. Gives what else is worth a line in the log.
 */
export async function checkRedis(redis: Redis): Promise<RedisFacts> {
  const info = parseInfo(await redis.info());
  const version = info.get("redis_version") ?? "0";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major < 6 || (major === 6 && minor < 2)) {
    throw problem("redis_misconfigured", `Redis ${version} is too old: 6.2 or newer is needed`, { version });
  }
  const policy = info.get("maxmemory_policy");
  if (policy !== undefined && policy !== "noeviction") {
    throw problem(
      "redis_misconfigured",
      `Redis has maxmemory-policy ${policy} and would throw jobs away when it is full: set it to noeviction`,
      { policy },
    );
  }
  return {
    version,
    appendOnly: info.get("aof_enabled") === "1",
    usedBytes: Number(info.get("used_memory") ?? 0),
    maxBytes: Number(info.get("maxmemory") ?? 0),
  };
}

function parseInfo(text: string): Map<string, string> {
  const facts = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon > 0 && !line.startsWith("#")) facts.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return facts;
}

/** What a failed command, or (Redis 6, after a `-`) a script, says when Redis is away, loading, read-only or full. */
const UNAVAILABLE =
  /ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|Command timed out|Connection is closed|isn't writeable|max retries per request|(^|-)(OOM|LOADING|READONLY|MISCONF|MASTERDOWN) /;

/** Runs commands of a producer; an unreachable, full or read-only Redis becomes `queue_unavailable` (503). */
export async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof CardinalError) throw error;
    const text = error instanceof Error ? error.message : String(error);
    if (UNAVAILABLE.test(text)) throw problem("queue_unavailable", "Redis cannot be reached or is full", {}, error);
    throw error;
  }
}
