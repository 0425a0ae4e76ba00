/**
 * How much a key may ask for, counted in Redis over all API processes, in windows that begin with the first use: up to
 * the limit in each window.
 */
import { type CardinalError, problem } from "@cardinal/contracts";
import { guarded, type RedisConnection } from "@cardinal/queue";
import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import type { Caller } from "./api-keys.ts";

const MINUTE = 60;
const DAY = 24 * 3600;

export class RateLimits {
  readonly #redis: RedisConnection;
  readonly #namespace: string;
  readonly #limiters = new Map<string, RateLimiterRedis>();

  constructor({ redis, keys: { namespace } }: { redis: RedisConnection; keys: { namespace: string } }) {
    this.#redis = redis;
    this.#namespace = namespace;
  }

  /** Counts a request. Throws `rate_limited` with `retryAfterSeconds`. */
  async request({ name, limits }: Caller): Promise<void> {
    const { requestsPerMinute: limit } = limits;
    if (limit !== undefined) await this.#take("requests", name, limit, MINUTE, 1);
  }

  /** Counts images that are to be predicted; when they are too many, none of them. Throws `rate_limited`. */
  async images({ name, limits }: Caller, count: number): Promise<void> {
    const { imagesPerDay: limit } = limits;
    if (limit !== undefined && count > 0) await this.#take("images", name, limit, DAY, count);
  }

  async #take(what: string, name: string, limit: number, seconds: number, count: number): Promise<void> {
    const limiter = this.#limiter(what, limit, seconds);
    await guarded(async () => {
      try {
        await limiter.consume(name, count);
      } catch (error) {
        if (!(error instanceof RateLimiterRes)) throw error;
        // What was refused does not count, so that smaller requests still fit.
        if (count > 1) await limiter.reward(name, count);
        throw refusal(what, name, limit, seconds, count, error);
      }
    });
  }

  #limiter(what: string, limit: number, seconds: number): RateLimiterRedis {
    const id = `${what}:${limit}`;
    let limiter = this.#limiters.get(id);
    if (!limiter) {
      const keyPrefix = `${this.#namespace}:rate:${what}`;
      limiter = new RateLimiterRedis({ storeClient: this.#redis, keyPrefix, points: limit, duration: seconds });
      this.#limiters.set(id, limiter);
    }
    return limiter;
  }
}

function refusal(
  what: string,
  name: string,
  limit: number,
  seconds: number,
  count: number,
  { msBeforeNext, consumedPoints }: RateLimiterRes,
): CardinalError {
  const retryAfterSeconds = Math.max(1, Math.ceil(msBeforeNext / 1000));
  const per = seconds === MINUTE ? "minute" : "day";
  const taken = count > 1 ? `; ${consumedPoints - count} are used and ${count} more were asked for` : "";
  return problem("rate_limited", `the key ${name} may ask for ${limit} ${what} a ${per}${taken}`, {
    limit: what === "requests" ? "requestsPerMinute" : "imagesPerDay",
    allowed: limit,
    retryAfterSeconds,
  });
}
