/** Bounded concurrency: for work as it comes, and for a list. */

/** Runs asynchronous work with at most `limit` pieces at a time, the others in the order in which they came. */
export function limiter(limit: number): <R>(work: () => Promise<R>) => Promise<R> {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (running === limit) await new Promise<void>((begin) => waiting.push(begin));
    else running++;
    try {
      return await work();
    } finally {
      const begin = waiting.shift();
      if (begin)
        begin(); // hands its place over, so that nobody who comes now gets in between
      else running--;
    }
  };
}

/**
 * Does `work` for each item, at most `limit` at a time. After an error or an abort nothing is begun any more; it is
 * thrown when all that was under way has ended.
 */
export async function forEachLimited<T>(
  items: readonly T[],
  limit: number,
  work: (item: T, index: number) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  let next = 0;
  let failed = false;
  const run = async () => {
    while (next < items.length && !failed) {
      signal?.throwIfAborted();
      const index = next++;
      try {
        await work(items[index]!, index);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const runs = await Promise.allSettled(Array.from({ length: Math.min(limit, items.length) }, run));
  const failure = runs.find((result) => result.status === "rejected");
  if (failure) throw failure.reason;
}
