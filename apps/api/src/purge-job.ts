/**
 * Removing an ended job: its record, its rows, and what it left in the store. What it made (a data set, a model) stays.
 *
 * The record goes first: from then on nobody can retry the job or ask for its rows. Should the process die after that,
 * housekeeping finds files without a job and removes them within a day.
 */
import { sweepJob } from "@cardinal/checkpoint";
import { layout } from "@cardinal/storage";
import type { ApiContext } from "./context.ts";

/** Throws `job_not_found`, `job_not_finished`. */
export async function purgeJob({ store, queue }: ApiContext, id: string): Promise<void> {
  await queue.forget(id);
  await store.deletePrefix(layout.predictions(id));
  await sweepJob(store, id, { keepCheckpoints: false });
  for await (const { key } of store.list(layout.upload(id))) await store.delete(key);
}
