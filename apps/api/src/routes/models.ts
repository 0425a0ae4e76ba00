/** The registry's models: lists, lineage, files, deletion. */
import { aliasesByModel, ancestorsOf, deleteModel, queryModels, readModel } from "@cardinal/checkpoint";
import { MODEL_ID_PREFIX, type ModelView, modelFileSchema, modelQuerySchema, problem } from "@cardinal/contracts";
import { layout } from "@cardinal/storage";
import { Router } from "express";
import { callerOf } from "../auth.ts";
import type { ApiContext } from "../context.ts";
import { asPage } from "../page-headers.ts";
import { nameOf, queryOf } from "../request-parsing.ts";
import { sendObject } from "../send-object.ts";
import { jobsOfModel } from "../uses.ts";

const CONTENT_TYPES = {
  "model.onnx": "application/octet-stream",
  "weights.safetensors": "application/octet-stream",
  "class_indices.json": "application/json",
  "report.json": "application/json",
  "report.html": "text/html; charset=utf-8",
} as const;

export function modelRoutes({ store, queue }: ApiContext): Router {
  const router = Router();

  router.get("/", async (request, response) => {
    response.json(await queryModels(store, queryOf(request, modelQuerySchema, ["limit"])));
  });

  router.get("/:id", async (request, response) => {
    const { manifest } = await readModel(store, nameOf(request.params.id, "the model's name"));
    const [aliases, ancestors] = await Promise.all([aliasesByModel(store), ancestorsOf(store, manifest)]);
    response.json({ ...manifest, aliases: aliases.get(manifest.id) ?? [], ancestors } satisfies ModelView);
  });

  router.delete("/:id", async (request, response) => {
    const id = nameOf(request.params.id, "the model's id");
    // An alias may point elsewhere by the time it is followed.
    if (!id.startsWith(MODEL_ID_PREFIX)) {
      throw problem("invalid_name", `a model is deleted by its id (${MODEL_ID_PREFIX}…), not by the alias ${id}`);
    }
    await deleteModel(store, id, { by: callerOf(response).name, jobs: () => jobsOfModel(queue, id) });
    response.status(204).end();
  });

  router.get("/:id/files/:file", async (request, response) => {
    const { id } = await readModel(store, nameOf(request.params.id, "the model's name"));
    const file = modelFileSchema.safeParse(request.params.file);
    if (!file.success) throw problem("not_found", `a model's files are ${modelFileSchema.options.join(", ")}`);
    if (file.data === "report.html") asPage(response);
    else response.attachment(file.data);
    await sendObject(
      store,
      { key: layout.modelFile(id, file.data), contentType: CONTENT_TYPES[file.data] },
      request,
      response,
    );
  });
  return router;
}
