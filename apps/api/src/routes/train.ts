/** `POST /v1/train`: everything that can be refused is refused here, before a worker is asked. */
import { readModel } from "@cardinal/checkpoint";
import {
  type ArchitectureName,
  architectures,
  classWeightsOf,
  type DatasetVersion,
  DEFAULT_ARCHITECTURE,
  type ModelManifest,
  PAYLOAD_VERSION,
  problem,
  type TrainPayload,
  type TrainRequest,
  trainRequestSchema,
} from "@cardinal/contracts";
import { readDataset } from "@cardinal/dataset/catalog";
import { JobQueue } from "@cardinal/queue";
import { Router } from "express";
import { answerAccepted } from "../accept-job.ts";
import type { ApiContext } from "../context.ts";
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
        work: { sort: `train:${pinned.architecture}:${pinned.trainable}`, amount: pinned.epochs * images },
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
  classWeightsOf(wanted.classWeights, dataset.report.classes);
  const version = { name: dataset.name, version: dataset.version };
  const pinned = { ...wanted, ...(base && { base: base.id }), architecture, dataset: version };
  return { pinned, images: dataset.report.splits.train! };
}

function refuseBase(
  { trainable }: TrainRequest,
  architecture: ArchitectureName,
  base: ModelManifest | undefined,
): void {
  const { stages } = architectures[architecture];
  if (trainable.startsWith("layer") && Number(trainable.slice("layer".length)) > stages) {
    throw problem("invalid_request", `trainable: ${architecture} has ${stages} stages, so no ${trainable}`, {
      path: "trainable",
    });
  }
  if (trainable !== "all" && base === undefined) {
    throw problem("base_required", `trainable '${trainable}' freezes the layers of a base model: name it as 'base'`, {
      path: "base",
    });
  }
  if (base !== undefined && base.architecture !== architecture) {
    throw problem(
      "base_mismatch",
      `the base ${base.id} is a ${base.architecture}, not a ${architecture}; leave 'architecture' out to train the base's`,
      { path: "architecture", architecture: base.architecture },
    );
  }
}

function refuseImageSize({ imageSize }: TrainRequest, architecture: ArchitectureName): void {
  const { minImageSize } = architectures[architecture];
  if (imageSize === undefined || imageSize >= minImageSize) return;
  throw problem(
    "image_size_too_small",
    `${architecture} needs images of ${minImageSize} pixels or more, not ${imageSize}`,
    { path: "imageSize", minImageSize },
  );
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
