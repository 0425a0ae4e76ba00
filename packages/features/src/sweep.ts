/**
 * What becomes of the cache: a segment is removed when it is older than a given age, whoever used it last. Nobody has
 * to know which job needs what: a job that finds a segment gone has those images extracted again.
 */
import { layout, type ObjectStore } from "@cardinal/storage";

/** Removes the segments that were written before a moment. Gives how many. Throws the signal's reason. */
export async function sweepFeatures(store: ObjectStore, before: Date, signal?: AbortSignal): Promise<number> {
  let removed = 0;
  for await (const { key, modifiedAt } of store.list(layout.allFeatures)) {
    signal?.throwIfAborted();
    if (modifiedAt >= before) continue;
    await store.delete(key);
    removed++;
  }
  return removed;
}
