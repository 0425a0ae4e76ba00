/** `POST /v1/datasets` takes an archive and queues its ingest; the rest shows data sets. */
import { type IngestRequest, ingestRequestSchema, PAYLOAD_VERSION } from "@cardinal/contracts";
import {
  type DeleteDatasetOptions,
  deleteDataset,
  deleteVersion,
  listDatasets,
  listVersions,
  readDataset,
} from "@cardinal/dataset/catalog";
import { JobQueue } from "@cardinal/queue";
import { layout } from "@cardinal/storage";
import { type Request, type Response, Router } from "express";
import { answerAccepted } from "../accept-job.ts";
import { callerOf } from "../auth.ts";
import type { ApiContext } from "../context.ts";
import { idempotencyKeyOf, nameOf, queryOf, versionOf } from "../request-parsing.ts";
import { requireRoom, submission } from "../submission.ts";
import { dropUpload, receiveFile } from "../upload.ts";
import { jobsOfDataset } from "../uses.ts";

const INGEST_PRIORITY = 100;
const ARCHIVE_TYPES = [
  "application/zip",
  "application/x-zip-compressed",
  "application/gzip",
  "application/x-gzip",
  "application/x-tar",
  "application/octet-stream",
];

export function datasetRoutes(context: ApiContext): Router {
  const { store, queue } = context;
  const router = Router();

  router.post("/", async (request, response) => {
    const wanted = queryOf(request, ingestRequestSchema, ["valFraction", "seed", "labels"]);
    await acceptArchive(context, wanted, request, response);
  });

  router.get("/", async (_request, response) => {
    const datasets = [];
    for await (const dataset of listDatasets(store)) datasets.push(dataset);
    response.json({ datasets });
  });

  router.get("/:name", async (request, response) => {
    response.json(await readDataset(store, datasetOf(request)));
  });

  router.get("/:name/versions", async (request, response) => {
    response.json({ versions: await listVersions(store, datasetOf(request)) });
  });

  router.delete("/:name", async (request, response) => {
    const name = datasetOf(request);
    await deleteDataset(store, name, deletion(context, name, response));
    await queue.scheduleCollection();
    response.status(204).end();
  });

  router.delete("/:name/versions/:version", async (request, response) => {
    const name = datasetOf(request);
    await deleteVersion(store, name, versionOf(request.params.version), deletion(context, name, response));
    await queue.scheduleCollection();
    response.status(204).end();
  });

  router.get("/:name/versions/:version", async (request, response) => {
    const name = datasetOf(request);
    response.json(await readDataset(store, name, versionOf(request.params.version)));
  });
  return router;
}

const deletion = ({ queue }: ApiContext, name: string, response: Response): DeleteDatasetOptions => ({
  by: callerOf(response).name,
  jobs: (version) => jobsOfDataset(queue, name, version),
});

const datasetOf = (request: Request): string => nameOf(request.params.name, "the data set's name");

async function acceptArchive(context: ApiContext, wanted: IngestRequest, request: Request, response: Response) {
  const { store, queue, limits } = context;
  const idempotencyKey = idempotencyKeyOf(request);
  await requireRoom(context, response);
  const id = JobQueue.newId("ingest");
  const archive = layout.upload(id);
  const received = await receiveFile(request, store, {
    key: archive,
    maxBytes: limits.uploadBytes,
    types: ARCHIVE_TYPES,
  });
  const submitted = submission(context, response);
  const payload = { v: PAYLOAD_VERSION, job: id, createdBy: submitted.createdBy, request: wanted, archive } as const;
  const shown = { ...wanted, archive: { bytes: received.bytes, sha256: received.sha256 } };
  const work = { sort: "ingest", amount: received.bytes };
  const options = { request: shown, priority: INGEST_PRIORITY, idempotencyKey, work, ...submitted };
  const { job, created } = await queue.enqueue("ingest", payload, options).catch(async (error) => {
    await dropUpload(context, id, archive, error);
    throw error;
  });
  if (!created) await store.delete(archive);
  await answerAccepted(response, queue, job);
}
