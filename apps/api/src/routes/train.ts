/** `POST /v1/train`: everything that can be refused is refused here, before a worker is asked. */
import { readModel } from "@cardinal/checkpoint";
import {
  architectures,
  classWeightsOf,
  DEFAULT_ARCHITECTURE,
  PAYLOAD_VERSION,
  refuseSmallBatch,
  refuseSweepSize,
  type TrainPayload,
  type TrainRequest,
  trainRequestSchema,
} from "@cardinal/contracts";
import { readDataset } from "@cardinal/dataset/catalog";
import { JobQueue } from "@cardinal/queue";
import { Router } from "express";
import { answerAccepted } from "../accept-job.ts";
import type { ApiContext } from "../context.ts";
import { refuseBase, refuseImageSize, refuseUntrainable } from "../refuse-training.ts";
import { bodyOf, idempotencyKeyOf } from "../request-parsing.ts";
import { submission } from "../submission.ts";

export function trainRoutes(context: ApiContext): Router {
  const { queue } = context;
  const router = Router();
  router.post("/", async (request, response) => {
    const wanted = bodyOf(request, trainRequestSchema);
    const { pinned, images } = await pinRequest(context, wanted);
    const id = JobQueue.newId("train");
    const submitted = submission(context, response);
    const { job } = await queue.enqueue(
      "train",
      { v: PAYLOAD_VERSION, job: id, createdBy: submitted.createdBy, request: pinned },
      {
        request: pinned,
        asked: wanted,
        priority: wanted.priority,
        idempotencyKey: idempotencyKeyOf(request),
        ...submitted,
        work: {
          sort: `train:${pinned.architecture}:${pinned.sweep ? "sweep" : pinned.trainable}`,
          amount: pinned.epochs * images,
        },
      },
    );
    await answerAccepted(response, queue, job);
  });
  return router;
}

/** Names become ids and versions now, so that a job means tomorrow what it means today. `images`: of an epoch. */
async function pinRequest(
  { store }: ApiContext,
  wanted: TrainRequest,
): Promise<{ pinned: TrainPayload["request"]; images: number }> {
  const base = wanted.base === undefined ? undefined : (await readModel(store, wanted.base)).manifest;
  const architecture = wanted.architecture ?? base?.architecture ?? DEFAULT_ARCHITECTURE;
  refuseBase(wanted, architecture, base);
  refuseImageSize(wanted, architecture);
  const dataset = await readDataset(store, wanted.dataset.name, wanted.dataset.version);
  refuseUntrainable(dataset);
  const imageSize = wanted.imageSize ?? base?.transform.crop ?? architectures[architecture].imageSize;
  refuseSmallBatch({ ...wanted, architecture, imageSize }, dataset.report.splits.train!);
  classWeightsOf(wanted.classWeights, dataset.report.classes);
  if (wanted.sweep) refuseSweepSize(wanted.sweep, dataset.classes.length);
  const version = { name: dataset.name, version: dataset.version };
  const pinned = { ...wanted, ...(base && { base: base.id }), architecture, dataset: version };
  return { pinned, images: dataset.report.splits.train! };
}
