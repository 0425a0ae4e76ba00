/** `POST /v1/models/import`: a state_dict as the body, or the source of one, becomes a queued import. */
import {
  type ImportPayload,
  type ImportRequest,
  importRequestSchema,
  PAYLOAD_VERSION,
  problem,
} from "@cardinal/contracts";
import { JobQueue } from "@cardinal/queue";
import { layout, type PutResult } from "@cardinal/storage";
import { type Request, type Response, Router } from "express";
import { answerAccepted } from "../accept-job.ts";
import type { ApiContext } from "../context.ts";
import { bodyOf, idempotencyKeyOf, queryOf } from "../request-parsing.ts";
import { requireRoom, submission } from "../submission.ts";
import { dropUpload, receiveFile } from "../upload.ts";

const IMPORT_PRIORITY = 100;
const WEIGHT_TYPES = ["application/octet-stream"];

export function importRoutes(context: ApiContext): Router {
  const router = Router();
  router.post("/", async (request, response) => {
    await (request.is("application/json") ? importSource : importBody)(context, request, response);
  });
  return router;
}

async function importSource(context: ApiContext, request: Request, response: Response): Promise<void> {
  const wanted = bodyOf(request, importRequestSchema);
  if (wanted.source === undefined) {
    throw problem("invalid_request", "source: name where the weights are, or send them as the body", {
      path: "source",
    });
  }
  const origin = await originOf(context, wanted.source);
  await accept(context, JobQueue.newId("import"), wanted, origin, request, response);
}

/** An address of an allowed host, or a key of the import area that is there. */
async function originOf({ store, importHosts }: ApiContext, source: string) {
  if (source.startsWith(layout.imports)) {
    if (await store.stat(source)) return { file: source };
    throw problem("source_not_allowed", `there is no object ${source}`, { path: "source" });
  }
  const url = URL.parse(source);
  if (url?.protocol === "https:" && importHosts.includes(url.host)) return { url: url.href };
  throw problem(
    "source_not_allowed",
    `source must be a store key in ${layout.imports} or an https address of an allowed host (IMPORT_ALLOWED_HOSTS: ${importHosts.join(", ") || "none"})`,
    { path: "source" },
  );
}

async function importBody(context: ApiContext, request: Request, response: Response): Promise<void> {
  const { store, limits } = context;
  const schema = importRequestSchema.omit({ source: true });
  const fromQuery = queryOf(request, schema.omit({ classes: true }), ["resize", "crop"]);
  await requireRoom(context, response);
  const id = JobQueue.newId("import");
  const key = layout.upload(id);
  const received = await receiveFile(request, store, { key, maxBytes: limits.uploadBytes, types: WEIGHT_TYPES });
  try {
    const wanted = schema.parse({ ...fromQuery, ...classesOf(received.fields.get("classes")) });
    await accept(context, id, wanted, { file: key }, request, response, received);
  } catch (error) {
    await dropUpload(context, id, key, error);
    throw error;
  }
}

function classesOf(text: string | undefined): { classes?: unknown } {
  if (text === undefined) return {};
  try {
    return { classes: JSON.parse(text) };
  } catch (error) {
    throw problem("invalid_request", "classes: is not JSON", { path: "classes" }, error);
  }
}

async function accept(
  context: ApiContext,
  id: string,
  wanted: ImportRequest,
  origin: { file: string } | { url: string },
  request: Request,
  response: Response,
  uploaded?: PutResult,
): Promise<void> {
  const { store, queue } = context;
  const { classes, ...rest } = wanted;
  const submitted = submission(context, response);
  const { createdBy } = submitted;
  const payload: ImportPayload = { v: PAYLOAD_VERSION, job: id, createdBy, request: rest, ...origin };
  if (classes) {
    payload.classes = layout.importClasses(id);
    await store.put(payload.classes, Buffer.from(JSON.stringify(classes)));
  }
  const file = uploaded && { bytes: uploaded.bytes, sha256: uploaded.sha256 };
  const { job, created } = await queue.enqueue("import", payload, {
    request: { ...rest, ...(classes && { classes: classes.length }), ...(file && { file }) },
    priority: IMPORT_PRIORITY,
    idempotencyKey: idempotencyKeyOf(request),
    ...submitted,
  });
  if (!created && uploaded) await store.delete(uploaded.key);
  await answerAccepted(response, queue, job);
}
