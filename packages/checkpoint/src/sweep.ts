/** Removes what a finished job leaves behind. */
import { layout, type ObjectStore } from "@cardinal/storage";
import { modelIdPrefix } from "./bundle.ts";
import { fenceJob, readCheckpoint, removeOldCheckpoints, rollForward } from "./pointer.ts";

export interface SweepOptions {
  /** Keep what a retry of the job would continue from. */
  keepCheckpoints: boolean;
}

/**
 * Removes the bundles of a finished job that were never published, and its checkpoints. Published models stay. Safe to
 * run again after dying anywhere: whoever still writes for the job is fenced off before its files go, what was
 * announced is completed before anything is removed, and the pointer goes before the files that it refers to. With
 * `keepCheckpoints` and nothing to remove, nothing is written, so it may be called as often as one likes.
 *
 * Gives the number of objects removed, not counting superseded checkpoints.
 */
export async function sweepJob(store: ObjectStore, job: string, options: SweepOptions): Promise<number> {
  await rollForward(store, job);
  let removed = 0;
  const unpublished = await unpublishedBundles(store, job);
  if (unpublished.length > 0 || !options.keepCheckpoints) await fenceJob(store, job);
  for (const id of unpublished) {
    // Looked at again: an announcement may have come between the listing and the fence, none can after it.
    if (!(await store.stat(layout.modelManifest(id)))) removed += await store.deletePrefix(layout.model(id));
  }
  if (options.keepCheckpoints) {
    const state = await readCheckpoint(store, job);
    if (state) await removeOldCheckpoints(store, job, state);
    return removed;
  }
  await store.delete(layout.checkpointLatest(job));
  return removed + (await store.deletePrefix(layout.checkpoints(job)));
}

/** Ids of the bundles that attempts of the job have begun and that have no manifest. */
async function unpublishedBundles(store: ObjectStore, job: string): Promise<string[]> {
  const published = new Map<string, boolean>();
  for await (const { key } of store.list(layout.models + modelIdPrefix(job))) {
    const id = key.slice(layout.models.length).split("/", 1)[0]!;
    published.set(id, published.get(id) || key === layout.modelManifest(id));
  }
  return [...published].flatMap(([id, isPublished]) => (isPublished ? [] : [id]));
}
