/** `POST /v1/predict`: a batch job. `POST /v1/predict/image`: one image, answered at once. */
import { resolveModel } from "@cardinal/checkpoint";
import {
  assertPrefixAllowed,
  type DatasetReference,
  PAYLOAD_VERSION,
  type PredictPayload,
  type PredictRequest,
  predictRequestSchema,
  problem,
  topKSchema,
} from "@cardinal/contracts";
import { JobQueue } from "@cardinal/queue";
import { layout, type ObjectStore } from "@cardinal/storage";
import { type Request, type Response, Router } from "express";
import { ulid } from "ulid";
import { z } from "zod";
import { answerAccepted } from "../accept-job.ts";
import { callerOf } from "../auth.ts";
import type { ApiContext } from "../context.ts";
import { type DatasetSplits, splitsReader } from "../dataset-splits.ts";
import { waitPreference } from "../prefer.ts";
import { bodyOf, idempotencyKeyOf, nameOf, queryOf } from "../request-parsing.ts";
import { submission } from "../submission.ts";
import { receiveBytes } from "../upload.ts";

const imageQuerySchema = z.strictObject({ model: z.string({ error: "is required" }), topK: topKSchema });

export function predictRoutes(context: ApiContext): Router {
  const { queue } = context;
  const readSplits = splitsReader(context.store);
  const router = Router();

  router.post("/", async (request, response) => {
    const wanted = bodyOf(request, predictRequestSchema);
    const id = JobQueue.newId("predict");
    const { payload, images } = await pinPayload(context, readSplits, id, wanted);
    const { job } = await queue.enqueue("predict", payload, {
      request: shown(wanted, payload),
      asked: wanted,
      priority: wanted.priority,
      idempotencyKey: idempotencyKeyOf(request),
      ...submission(context, response, images),
      ...(images !== undefined && { work: { sort: `shard:${payload.model}`, amount: images } }),
    });
    await answerAccepted(response, queue, job);
  });

  router.post("/image", (request, response) => answerImage(context, request, response));
  return router;
}

/** The request with what its names meant; of a list of images only how many: the list itself lies in the store. */
function shown({ images, ...wanted }: PredictRequest, { model, dataset }: PredictPayload): Record<string, unknown> {
  return { ...wanted, model, ...(dataset && { dataset }), ...(images && { images: images.length }) };
}

/** Names become ids and versions now, so that a job means tomorrow what it means today. `images`: how many, if known. */
async function pinPayload(
  { store, prefixArea }: ApiContext,
  readSplits: (wanted: DatasetReference) => Promise<DatasetSplits>,
  id: string,
  wanted: PredictRequest,
): Promise<{ payload: PredictPayload; images?: number }> {
  const common = {
    v: PAYLOAD_VERSION,
    job: id,
    model: await resolveModel(store, wanted.model),
    topK: wanted.topK,
    maxFailureRate: wanted.maxFailureRate,
    // Left out where it says nothing: workers of before do not know it.
    ...(wanted.output === "features" && { output: wanted.output }),
    priority: wanted.priority,
  } as const;
  if (wanted.images) {
    const imageList = layout.predictionImages(id);
    await store.put(imageList, Buffer.from(JSON.stringify(wanted.images)));
    return { payload: { ...common, imageList }, images: wanted.images.length };
  }
  if (wanted.prefix !== undefined) {
    await refuseEmpty(store, wanted.prefix, prefixArea);
    return { payload: { ...common, prefix: wanted.prefix } };
  }
  const dataset = await readSplits(wanted.dataset!);
  const { splits } = dataset;
  const split = wanted.split ?? (splits.val ? "val" : splits.all ? "all" : "train");
  if (!splits[split]) {
    throw problem("split_not_found", `data set ${dataset.name} has no images in split ${split}`, {
      path: "split",
      splits,
    });
  }
  const payload = { ...common, dataset: { name: dataset.name, version: dataset.version, split } };
  return { payload, images: splits[split] };
}

/** Throws `prefix_not_allowed`, or `no_images` when no key begins so now. */
async function refuseEmpty(store: ObjectStore, prefix: string, area: string): Promise<void> {
  assertPrefixAllowed(prefix, area);
  for await (const _ of store.list(prefix)) return;
  throw problem("no_images", `no object of the store has a key that begins with ${JSON.stringify(prefix)}`, {
    path: "prefix",
  });
}

async function answerImage(context: ApiContext, request: Request, response: Response): Promise<void> {
  const { store, images, limits, rates } = context;
  const { model: reference, topK } = queryOf(request, imageQuerySchema, ["topK"]);
  const model = await resolveModel(store, nameOf(reference, "the model's name"));
  const preferred = waitPreference(request);
  const bytes = await receiveBytes(request, limits.imageBytes);
  if (bytes.length === 0) throw problem("empty_file", "the body has no bytes: send an image's");
  await rates.images(callerOf(response), 1);
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  const image = layout.upload(`image-${ulid().toLowerCase()}`);
  await store.put(image, bytes);
  try {
    const question = { image, model, topK, ...(preferred && { wait: true }) };
    const answer = await images.ask(question, preferred?.ms ?? limits.imageTimeoutMs, gone.signal);
    if (preferred) response.setHeader("Preference-Applied", preferred.applied);
    response.json(answer);
  } finally {
    // The answer is out, or another error is: housekeeping removes after a day what cannot be removed now.
    await store.delete(image).catch((error) => request.log.warn({ err: error, image }, "an upload was left behind"));
  }
}
