/** `POST /v1/jobs/:id/retry`: a failed or cancelled job runs again, while what it was given is still there. */
import { resolveModel } from "@cardinal/checkpoint";
import {
  type ImportPayload,
  type IngestPayload,
  type PredictPayload,
  problem,
  type TrainPayload,
} from "@cardinal/contracts";
import { readDataset } from "@cardinal/dataset/catalog";
import type { JobRecord } from "@cardinal/queue";
import type { ObjectStore } from "@cardinal/storage";
import { Router } from "express";
import { answerAccepted } from "../accept-job.ts";
import type { ApiContext } from "../context.ts";
import { jobIdOf } from "../request-parsing.ts";

export function retryRoutes({ store, queue }: ApiContext): Router {
  const router = Router();
  router.post("/:id/retry", async (request, response) => {
    const id = jobIdOf(request);
    const ended = await queue.get(id);
    // Before: a job that cannot run stays as it ended. Once more when it is open: then nobody deletes it any more.
    if (ended.finishedAt) await requireInputs(store, ended);
    const job = await queue.requeueEnded(id, (open) => requireInputs(store, open));
    await answerAccepted(response, queue, job);
  });
  return router;
}

/** Throws `model_not_found`, `dataset_not_found` or `job_not_retryable` when something that the job reads is gone. */
async function requireInputs(store: ObjectStore, job: JobRecord): Promise<void> {
  switch (job.kind) {
    case "train": {
      const { request } = job.payload as unknown as TrainPayload;
      await readDataset(store, request.dataset.name, request.dataset.version);
      if (request.base !== undefined) await resolveModel(store, request.base);
      return;
    }
    case "predict": {
      const { model, dataset, imageList } = job.payload as unknown as PredictPayload;
      await resolveModel(store, model);
      if (dataset) await readDataset(store, dataset.name, dataset.version);
      await requireObject(store, job, imageList);
      return;
    }
    case "ingest":
      await requireObject(store, job, (job.payload as unknown as IngestPayload).archive);
      return;
    case "import": {
      const { file, classes } = job.payload as unknown as ImportPayload;
      await requireObject(store, job, file);
      await requireObject(store, job, classes);
    }
  }
}

async function requireObject(store: ObjectStore, job: JobRecord, key: string | undefined): Promise<void> {
  if (key === undefined || (await store.stat(key))) return;
  throw problem("job_not_retryable", `job ${job.id} cannot be retried: ${key}, which it reads, is no longer kept`, {
    state: job.state,
    missing: key,
  });
}
