/** Aliases: moved, rolled back, removed. An ETag is the alias's revision, so `If-Match` moves only what one has seen. */
import { deleteAlias, listAliases, readAlias, rollBackAlias, setAlias } from "@cardinal/checkpoint";
import { type AliasRecord, aliasRequestSchema, problem } from "@cardinal/contracts";
import { type Request, type Response, Router } from "express";
import { callerOf } from "../auth.ts";
import type { ApiContext } from "../context.ts";
import { bodyOf, nameOf } from "../request-parsing.ts";

export function aliasRoutes({ store }: ApiContext): Router {
  const router = Router();

  router.get("/", async (_request, response) => {
    const aliases = [];
    for await (const alias of listAliases(store)) aliases.push(alias);
    response.json({ aliases });
  });

  router.get("/:alias", async (request, response) => {
    const alias = aliasOf(request);
    const record = await readAlias(store, alias);
    if (!record) throw problem("alias_not_found", `there is no alias ${alias}`, { alias });
    answer(response, record);
  });

  router.put("/:alias", async (request, response) => {
    const { model } = bodyOf(request, aliasRequestSchema);
    const record = await setAlias(store, aliasOf(request), model, moveOptions(request, response));
    answer(response, record);
  });

  router.post("/:alias/rollback", async (request, response) => {
    const record = await rollBackAlias(store, aliasOf(request), moveOptions(request, response));
    answer(response, record);
  });

  router.delete("/:alias", async (request, response) => {
    await deleteAlias(store, aliasOf(request), moveOptions(request, response));
    response.status(204).end();
  });
  return router;
}

const aliasOf = (request: Request): string => nameOf(request.params.alias, "the alias");

function answer(response: Response, record: AliasRecord): void {
  response.set("ETag", `"${record.revision}"`).json(record);
}

function moveOptions(request: Request, response: Response) {
  const revision = revisionOf(request.get("If-Match"));
  return { by: callerOf(response).name, ...(revision !== undefined && { revision }) };
}

function revisionOf(ifMatch: string | undefined): number | undefined {
  if (ifMatch === undefined) return undefined;
  const revision = /^"(\d{1,15})"$/.exec(ifMatch)?.[1];
  if (revision !== undefined) return Number(revision);
  throw problem("invalid_request", `If-Match must be the ETag of an alias, such as "3", not ${ifMatch.slice(0, 100)}`);
}
