/**
 * Keeps ingests and the removal of unwanted images apart. An ingest is active first (its record says so) and then looks
 * whether there is a hold; a hold is written first and then looks for active ingests. Whichever looks last sees the
 * other: the ingest waits, the hold is given up.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import type { Keys } from "./keys.ts";

/** The key runs out after this, should its holder die. */
const HOLD_SECONDS = 30;
/** Its holder trusts it for so long: the rest is for a call to the store that was begun in time. */
const TRUSTED_MS = 15_000;
const LOOK_MS = 200;

/** One that has run out may be somebody else's by now. */
const RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end";

export interface IngestHold {
  /** False once it may have run out. */
  isHeld(): boolean;
  release(): Promise<void>;
}

/** Undefined while an ingest is active, or somebody else holds them. */
export async function holdIngests(
  redis: Redis,
  keys: Keys,
  isIngesting: () => Promise<boolean>,
): Promise<IngestHold | undefined> {
  const token = randomUUID();
  const until = performance.now() + TRUSTED_MS;
  if ((await redis.set(keys.ingestHold, token, "EX", HOLD_SECONDS, "NX")) !== "OK") return undefined;
  const release = async () => {
    await redis.eval(RELEASE, 1, keys.ingestHold, token);
  };
  try {
    if (!(await isIngesting())) return { isHeld: () => performance.now() < until, release };
  } catch (error) {
    await release();
    throw error;
  }
  await release();
  return undefined;
}

/** For an ingest that is active already: resolves once nobody holds it. */
export async function whenNotHeld(redis: Redis, keys: Keys, signal: AbortSignal): Promise<void> {
  while (await redis.exists(keys.ingestHold)) await sleep(LOOK_MS, undefined, { signal });
}
