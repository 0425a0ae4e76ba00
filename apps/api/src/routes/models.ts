/** The registry: models, their files, and the aliases that name them. */
import { listAliases, listModels, readModel, setAlias } from "@cardinal/checkpoint";
import { aliasRequestSchema, modelFileSchema, problem } from "@cardinal/contracts";
import { layout } from "@cardinal/storage";
import { Router } from "express";
import type { ApiContext } from "../context.ts";
import { bodyOf, nameOf } from "../request-parsing.ts";
import { sendObject } from "../send-object.ts";

const CONTENT_TYPES = {
  "model.onnx": "application/octet-stream",
  "weights.safetensors": "application/octet-stream",
  "class_indices.json": "application/json",
  "report.json": "application/json",
} as const;

export function modelRoutes({ store }: ApiContext): Router {
  const router = Router();

  router.get("/", async (_request, response) => {
    const models = [];
    for await (const { manifest } of listModels(store)) models.push(manifest);
    response.json({ models });
  });

  router.get("/:id", async (request, response) => {
    response.json((await readModel(store, nameOf(request.params.id, "the model's name"))).manifest);
  });

  router.get("/:id/files/:file", async (request, response) => {
    const { id } = await readModel(store, nameOf(request.params.id, "the model's name"));
    const file = modelFileSchema.safeParse(request.params.file);
    if (!file.success) throw problem("not_found", `a model's files are ${modelFileSchema.options.join(", ")}`);
    response.attachment(file.data);
    await sendObject(store, layout.modelFile(id, file.data), request, response, CONTENT_TYPES[file.data]);
  });
  return router;
}

export function aliasRoutes({ store }: ApiContext): Router {
  const router = Router();

  router.get("/", async (_request, response) => {
    const aliases = [];
    for await (const alias of listAliases(store)) aliases.push(alias);
    response.json({ aliases });
  });

  router.put("/:alias", async (request, response) => {
    const { model } = bodyOf(request, aliasRequestSchema);
    response.json(await setAlias(store, nameOf(request.params.alias, "the alias"), model));
  });
  return router;
}
