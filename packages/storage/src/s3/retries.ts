import { setTimeout as sleep } from "node:timers/promises";
import { isTransient } from "./problems.ts";

/** With the pauses 0.1, 0.2 and 0.4 s; each attempt ends by itself when nothing moves for the idle timeout. */
export const ATTEMPTS = 4;
const FIRST_PAUSE_MS = 100;

/** Repeats work that can be repeated, while it fails with what may heal. `attempt` counts from 1. */
export async function withRetries<T>(
  signal: AbortSignal | undefined,
  work: (attempt: number) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await work(attempt);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (attempt === ATTEMPTS || !isTransient(error)) throw error;
      await pause(attempt, signal);
    }
  }
}

/** Doubles from attempt to attempt, with up to half of it more so that many clients do not come back at once. */
export async function pause(attempt: number, signal: AbortSignal | undefined): Promise<void> {
  const milliseconds = FIRST_PAUSE_MS * 2 ** (attempt - 1) * (1 + Math.random() / 2);
  await sleep(milliseconds, undefined, { signal }).catch((error: unknown) => {
    throw signal?.aborted ? signal.reason : error;
  });
}
