/** Deletions that a dying process left half done are completed. */
import { modelRemoval } from "@cardinal/checkpoint";
import { datasetRemoval } from "@cardinal/dataset/catalog";
import type { JobQueue } from "@cardinal/queue";
import { layout, listRemovals, type ObjectStore, type Removal, resumeRemoval } from "@cardinal/storage";
import { jobsOfDataset, jobsOfModel } from "./uses.ts";

export async function resumeRemovals(store: ObjectStore, queue: JobQueue, signal: AbortSignal): Promise<void> {
  for await (const key of listRemovals(store)) {
    signal.throwIfAborted();
    const removal = removalAt(store, queue, key);
    if (removal) await resumeRemoval(store, removal);
  }
}

function removalAt(store: ObjectStore, queue: JobQueue, key: string): Removal | undefined {
  const [what, first, second] = key
    .slice(layout.removals.length)
    .replace(/\.json$/, "")
    .split("/");
  if (what === "models" && first) return modelRemoval(store, first, { jobs: () => jobsOfModel(queue, first) });
  if (what !== "datasets" || !first || !second) return undefined;
  return datasetRemoval(store, first, second, { jobs: (version) => jobsOfDataset(queue, first, version) });
}
