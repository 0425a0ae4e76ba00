/** Gives the results of `work` in the order of the items, `size` of which are worked on at the same time. */
export async function* inBatches<T, R>(
  items: readonly T[],
  size: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  for (let start = 0; start < items.length; start += size) {
    const settled = await Promise.allSettled(items.slice(start, start + size).map(work));
    for (const result of settled) {
      if (result.status === "rejected") throw result.reason;
      yield result.value;
    }
  }
}
