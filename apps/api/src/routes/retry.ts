/**
 * `POST /v1/jobs/:id/retry`: a failed or cancelled job, or a batch job with failed inputs, runs again, while what it was
 * given is still there.
 */
import { assertUsable, readCheckpoint } from "@cardinal/checkpoint";
import { type ImportPayload, type IngestPayload, type PredictPayload, problem } from "@cardinal/contracts";
import type { JobRecord } from "@cardinal/queue";
import type { ObjectStore } from "@cardinal/storage";
import { Router } from "express";
import { answerAccepted } from "../accept-job.ts";
import type { ApiContext } from "../context.ts";
import { jobIdOf } from "../request-parsing.ts";
import { requireRoom } from "../submission.ts";
import { requireUsable } from "../uses.ts";

export function retryRoutes(context: ApiContext): Router {
  const { store, queue } = context;
  const router = Router();
  router.post("/:id/retry", async (request, response) => {
    const id = jobIdOf(request);
    const ended = await queue.get(id);
    // Before: a job that cannot run stays as it ended. Once more when it is open: then nobody deletes it any more.
    if (ended.finishedAt) await requireInputs(store, ended);
    await requireRoom(context, response);
    const job = await queue.requeueEnded(id, (open) => requireInputs(store, open));
    await answerAccepted(response, queue, job);
  });
  return router;
}

/** Throws `model_not_found`, `dataset_not_found`, `being_deleted` or `job_not_retryable` when something is gone. */
async function requireInputs(store: ObjectStore, job: JobRecord): Promise<void> {
  await requireUsable(store, job);
  // It may have announced its model already.
  const made = job.kind === "train" || job.kind === "import" ? await readCheckpoint(store, job.id) : undefined;
  if (made?.publish) await assertUsable(store, made.publish.id);
  // What the job was given to read, and nobody else has.
  const { archive, file, classes, imageList } = job.payload as Partial<IngestPayload & ImportPayload & PredictPayload>;
  for (const key of [archive, file, classes, imageList]) await requireObject(store, job, key);
}

async function requireObject(store: ObjectStore, job: JobRecord, key: string | undefined): Promise<void> {
  if (key === undefined || (await store.stat(key))) return;
  throw problem("job_not_retryable", `job ${job.id} cannot be retried: ${key}, which it reads, is no longer kept`, {
    state: job.state,
    missing: key,
  });
}
