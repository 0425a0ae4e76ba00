/** `POST /v1/train`: everything that can be refused is refused here, before a worker is asked. */
import {
  architectures,
  type DatasetVersion,
  PAYLOAD_VERSION,
  problem,
  type TrainRequest,
  trainRequestSchema,
} from "@cardinal/contracts";
import { readDataset } from "@cardinal/dataset/catalog";
import { JobQueue } from "@cardinal/queue";
import { Router } from "express";
import { answerAccepted } from "../accept-job.ts";
import type { ApiContext } from "../context.ts";
import { bodyOf, idempotencyKeyOf } from "../request-parsing.ts";

export function trainRoutes({ store, queue }: ApiContext): Router {
  const router = Router();
  router.post("/", async (request, response) => {
    const wanted = bodyOf(request, trainRequestSchema);
    refuseUnsupported(wanted);
    const dataset = await readDataset(store, wanted.dataset.name, wanted.dataset.version);
    refuseUntrainable(dataset);
    const pinned = { ...wanted, dataset: { name: dataset.name, version: dataset.version } };
    const id = JobQueue.newId("train");
    const { job } = await queue.enqueue(
      "train",
      { v: PAYLOAD_VERSION, job: id, request: pinned },
      { request: pinned, asked: wanted, priority: wanted.priority, idempotencyKey: idempotencyKeyOf(request) },
    );
    await answerAccepted(response, queue, job);
  });
  return router;
}

function refuseUnsupported(wanted: TrainRequest): void {
  if (wanted.trainable === "head" && wanted.base === undefined) {
    throw problem("base_required", "trainable 'head' trains the last layer of a base model: name it as 'base'", {
      path: "base",
    });
  }
  if (wanted.base !== undefined) {
    throw problem("not_implemented", "this version trains from scratch only: training from a base comes later", {
      path: "base",
    });
  }
  const { minImageSize } = architectures[wanted.architecture];
  if (wanted.imageSize !== undefined && wanted.imageSize < minImageSize) {
    throw problem(
      "image_size_too_small",
      `${wanted.architecture} needs images of ${minImageSize} pixels or more, not ${wanted.imageSize}`,
      { path: "imageSize", minImageSize },
    );
  }
}

function refuseUntrainable(dataset: DatasetVersion): void {
  const images = dataset.report.splits.train ?? 0;
  if (images === 0) {
    throw problem("dataset_not_trainable", `data set ${dataset.name} has no labelled training images`, {
      path: "dataset",
    });
  }
  if (dataset.classes.length < 2) {
    throw problem("single_class", `data set ${dataset.name} has the one class ${dataset.classes[0]}`, {
      path: "dataset",
    });
  }
}
