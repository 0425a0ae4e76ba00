/** Images that no data set refers to any more are looked for after a data set was deleted, and now and then. */
import type { PredictPayload } from "@cardinal/contracts";
import { type Collection, collectBlobs } from "@cardinal/dataset/catalog";
import type { JobQueue } from "@cardinal/queue";
import type { ObjectStore } from "@cardinal/storage";

/** Images of ingests that failed half way turn up without anybody having deleted something. */
const EVERY_SECONDS = 6 * 3600;
/** After a collection that did not come to its end. */
const AGAIN_SECONDS = 600;
/** Younger images stay. Not needed for safety (collect-blobs.ts says what is), but for workers of an older Cardinal. */
const GRACE_MS = 3600 * 1000;

/** Undefined when it is not time yet. */
export async function removeUnwantedImages(
  store: ObjectStore,
  queue: JobQueue,
  signal: AbortSignal,
): Promise<Collection | undefined> {
  if (!(await queue.isCollectionDue(AGAIN_SECONDS))) return undefined;
  const collection = await collectBlobs(store, {
    hold: () => queue.holdIngests(),
    kept: () => listedImages(store, queue),
    graceMs: GRACE_MS,
    signal,
  });
  const young = collection.young > 0 ? Math.ceil(GRACE_MS / 1000) : EVERY_SECONDS;
  await queue.scheduleCollection(collection.interrupted ? 0 : Math.min(young, EVERY_SECONDS));
  return collection;
}

/** Digests that open predict jobs name by themselves. */
async function* listedImages(store: ObjectStore, queue: JobQueue): AsyncGenerator<string> {
  for (const { kind, payload } of await queue.openJobs()) {
    const { imageList } = payload as Partial<PredictPayload>;
    if (kind === "predict" && imageList && (await store.stat(imageList))) {
      yield* JSON.parse((await store.read(imageList)).toString()) as string[];
    }
  }
}
