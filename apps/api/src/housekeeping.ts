/**
 * What must be done now and then by somebody: jobs that a dying process left behind are queued again, and what jobs
 * have left in the store is removed once nobody wants it. Of many API processes one does it, by a lock in Redis that
 * runs out.
 *
 * Everything here may be cut off at any point and is done again by the next round.
 */
import { sweepJob } from "@cardinal/checkpoint";
import { CardinalError, hasEnded } from "@cardinal/contracts";
import { sweepFeatures } from "@cardinal/features";
import type { JobQueue, JobRecord } from "@cardinal/queue";
import type { Logger } from "@cardinal/service";
import { layout, type ObjectStore } from "@cardinal/storage";
import { resumeRemovals } from "./unfinished-removals.ts";
import { removeUnwantedImages } from "./unwanted-images.ts";

const ROUND_MS = 60_000;
/** What no job wants is kept for so long: the record of its job may be about to be written. */
const UNWANTED_TTL_MS = 24 * 3600 * 1000;

export interface Housekeeper {
  /** One round now, whoever holds the lock; for tests and at start. */
  round(): Promise<void>;
  /** Ends a round that runs after the object that it is at: the next round, of any process, does the rest. */
  stop(): Promise<void>;
}

/** Whoever looks for old segments lists all of the feature cache: not in every round. */
const FEATURES_EVERY_MS = 3600 * 1000;

/** Features are kept for `featureDays`. */
export function startHousekeeping(
  store: ObjectStore,
  queue: JobQueue,
  logger: Logger,
  featureDays: number,
): Housekeeper {
  let running: Promise<void> = Promise.resolve();
  const stopping = new AbortController();
  const { signal } = stopping;
  let featuresAt = Number.NEGATIVE_INFINITY;
  const round = async () => {
    const added = await queue.repair();
    if (added.length > 0) logger.warn({ jobs: added }, "jobs without a queue entry were queued again");
    await sweepUploads(store, queue, signal);
    await sweepCheckpoints(store, queue, signal);
    await sweepPredictions(store, queue, signal);
    await sweepExtractions(store, queue, signal);
    if (performance.now() - featuresAt > FEATURES_EVERY_MS) {
      await sweepFeatures(store, new Date(Date.now() - featureDays * 24 * 3600 * 1000), signal);
      featuresAt = performance.now();
    }
    await resumeRemovals(store, queue, signal);
    const images = await removeUnwantedImages(store, queue, signal);
    if (images) logger.info(images, "images that no data set refers to were removed");
  };
  const tick = async () => {
    try {
      if (await queue.becomeHousekeeper(ROUND_MS / 1000 - 5)) await round();
    } catch (error) {
      if (signal.aborted) return;
      logger.warn({ err: error }, "housekeeping failed and is tried again");
    }
  };
  const timer = setInterval(() => {
    running = running.then(tick);
  }, ROUND_MS);
  return {
    round,
    async stop() {
      clearInterval(timer);
      stopping.abort();
      await running;
    },
  };
}

/** The record, or undefined when there never was one or it has expired. */
async function find(queue: JobQueue, id: string): Promise<JobRecord | undefined> {
  try {
    return await queue.get(id);
  } catch (error) {
    if (error instanceof CardinalError && error.code === "job_not_found") return undefined;
    throw error;
  }
}

const isOver = (job: JobRecord | undefined): boolean => job === undefined || hasEnded(job.state);

const isOld = (modifiedAt: Date): boolean => Date.now() - modifiedAt.getTime() > UNWANTED_TTL_MS;

/** Archives of completed jobs; of failed and cancelled ones, which may be retried, and of what never became a job after a day. */
async function sweepUploads(store: ObjectStore, queue: JobQueue, signal: AbortSignal): Promise<void> {
  for await (const { key, modifiedAt } of store.list(layout.uploads)) {
    signal.throwIfAborted();
    // `<job>`, or `<job>.<what>` for further files of the job.
    const job = await find(queue, key.slice(layout.uploads.length).split(".", 1)[0]!);
    const wantedSince = job?.finishedAt ?? modifiedAt;
    const isUnwanted = job?.state === "completed" || (isOver(job) && isOld(wantedSince));
    if (isUnwanted) await store.delete(key);
  }
}

async function sweepCheckpoints(store: ObjectStore, queue: JobQueue, signal: AbortSignal): Promise<void> {
  for await (const id of store.listFolders(layout.allCheckpoints)) {
    signal.throwIfAborted();
    const job = await find(queue, id);
    if (isOver(job)) await sweepJob(store, id, { keepCheckpoints: job?.state === "failed" });
  }
}

/** What features were extracted from. A job that is retried is planned anew. */
async function sweepExtractions(store: ObjectStore, queue: JobQueue, signal: AbortSignal): Promise<void> {
  for await (const id of store.listFolders(layout.allExtractions)) {
    signal.throwIfAborted();
    if (isOver(await find(queue, id))) await store.deletePrefix(layout.extraction(id));
  }
}

/**
 * Inputs and parts of completed jobs without a failed input, which nobody can retry; everything of cancelled ones, and
 * of those whose record has expired. A failed job keeps what it has. The image list of a job is written before its record is.
 */
async function sweepPredictions(store: ObjectStore, queue: JobQueue, signal: AbortSignal): Promise<void> {
  for await (const id of store.listFolders(layout.allPredictions)) {
    signal.throwIfAborted();
    const job = await find(queue, id);
    if (job === undefined) {
      let isUnwanted = true;
      for await (const { modifiedAt } of store.list(layout.predictions(id))) isUnwanted &&= isOld(modifiedAt);
      if (isUnwanted) await store.deletePrefix(layout.predictions(id));
    } else if (job.state === "cancelled") {
      await store.deletePrefix(layout.predictions(id));
    } else if (job.state === "completed" && !(Number(job.result?.failed) > 0)) {
      await store.deletePrefix(layout.allInputs(id));
      await store.deletePrefix(layout.allParts(id));
      await store.deletePrefix(layout.allPieces(id));
    }
  }
}
