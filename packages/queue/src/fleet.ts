/** Who works: every worker writes a description of itself every few seconds; who is silent for long is gone. */
import { type WorkerView, workerViewSchema } from "@cardinal/contracts";
import type { Redis } from "ioredis";
import type { Keys } from "./keys.ts";

const HEARTBEAT_MS = 2_000;
/** A worker that was silent for so long is no longer counted; generous, since a busy machine may be late. */
export const WORKER_TTL_MS = 12_000;

export interface Heartbeat {
  /** Writes the description now. */
  beat(): Promise<void>;
  /** Stops and takes the worker off the list. */
  stop(): Promise<void>;
}

export function startHeartbeat(
  redis: Redis,
  keys: Keys,
  describe: () => Omit<WorkerView, "seenAt">,
  onError: (error: Error) => void,
): Heartbeat {
  const id = describe().id;
  const beat = async () => {
    const now = Date.now();
    const view: WorkerView = { ...describe(), seenAt: new Date(now).toISOString() };
    await redis.multi().zadd(keys.workers, now, id).hset(keys.workerViews, id, JSON.stringify(view)).exec();
  };
  const timer = setInterval(() => beat().catch(onError), HEARTBEAT_MS);
  beat().catch(onError);
  return {
    beat,
    async stop() {
      clearInterval(timer);
      await redis.multi().zrem(keys.workers, id).hdel(keys.workerViews, id).exec();
    },
  };
}

/** The live workers, oldest first. */
export async function listWorkers(redis: Redis, keys: Keys): Promise<WorkerView[]> {
  const ids = await redis.zrangebyscore(keys.workers, Date.now() - WORKER_TTL_MS, "+inf");
  if (ids.length === 0) return [];
  const texts = await redis.hmget(keys.workerViews, ...ids);
  const views = texts.flatMap((text) => {
    const parsed = text ? workerViewSchema.safeParse(JSON.parse(text)) : undefined;
    return parsed?.success ? [parsed.data] : [];
  });
  return views.sort((a, b) => a.startedAt.localeCompare(b.startedAt) || a.id.localeCompare(b.id));
}

/** Forgets workers that died without saying so, an hour after they were last seen. */
export async function forgetDeadWorkers(redis: Redis, keys: Keys): Promise<void> {
  const ids = await redis.zrangebyscore(keys.workers, "-inf", Date.now() - 3_600_000);
  if (ids.length > 0) {
    await redis
      .multi()
      .zrem(keys.workers, ...ids)
      .hdel(keys.workerViews, ...ids)
      .exec();
  }
}
