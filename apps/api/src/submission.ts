/** What every call that makes a job, or has one run again, asks and writes down. */
import type { Caller } from "@cardinal/access";
import { problem } from "@cardinal/contracts";
import type { EnqueueOptions, JobQueue } from "@cardinal/queue";
import type { Response } from "express";
import { callerOf } from "./auth.ts";
import type { ApiContext } from "./context.ts";
import { requireUsable } from "./uses.ts";

/** When a caller with too many open jobs may ask again, in seconds. */
const RETRY_AFTER_SECONDS = 10;

/**
 * Who submits, and what is asked once the job's record is written: whether all that it uses may be used, and whether the
 * caller may have one more open job and predict so many more images. Throws (in `confirm`) `model_not_found`,
 * `dataset_not_found`, `being_deleted`, `rate_limited`; there is no job then.
 */
export function submission(
  { store, queue, rates }: ApiContext,
  response: Response,
  images = 0,
): Required<Pick<EnqueueOptions, "createdBy" | "confirm">> {
  const caller = callerOf(response);
  return {
    createdBy: caller.name,
    async confirm(job) {
      await requireUsable(store, job);
      await refuseWithoutRoom(queue, caller, job.id);
      // Last: a job that is refused uses up nothing.
      await rates.images(caller, images);
    },
  };
}

/** Before an upload is taken in, or a job is retried: `rate_limited` when the caller has all the open jobs that it may. */
export async function requireRoom({ queue }: ApiContext, response: Response): Promise<void> {
  await refuseWithoutRoom(queue, callerOf(response));
}

/** Of jobs that come at the same moment those that are first in order stay. */
async function refuseWithoutRoom(queue: JobQueue, { name, limits }: Caller, job?: string): Promise<void> {
  const { openJobs: limit } = limits;
  if (limit === undefined) return;
  const mine = await queue.openJobsBy(name);
  const index = job === undefined ? -1 : mine.indexOf(job);
  const before = index < 0 ? mine.length : index;
  if (before < limit) return;
  throw problem("rate_limited", `the key ${name} may have ${limit} open jobs, and has them`, {
    limit: "openJobs",
    allowed: limit,
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  });
}
