import { setTimeout as sleep } from "node:timers/promises";

export interface WaitOptions {
  /** What is waited for, for the error: "the job to be completed". */
  what: string;
  /** 10 seconds unless told. */
  timeoutMs?: number;
  /** Pause between two looks; 20 ms unless told. */
  everyMs?: number;
}

type Falsy = false | 0 | "" | null | undefined;

/**
 * Looks until `look` gives something truthy, and returns that.
 * An error that `look` throws ends the wait at once: return false for "not yet".
 */
export async function waitFor<T>(look: () => T | Promise<T>, options: WaitOptions): Promise<Exclude<T, Falsy>> {
  const { what, timeoutMs = 10_000, everyMs = 20 } = options;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const seen = await look();
    if (seen) return seen as Exclude<T, Falsy>;
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs / 1000} s for ${what}; the last look gave ${String(seen)}`);
    }
    await sleep(everyMs);
  }
}
