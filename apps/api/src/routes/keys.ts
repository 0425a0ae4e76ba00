/** API keys: made, listed and revoked by whoever has one of scope `admin`. */
import { keyRequestSchema } from "@cardinal/contracts";
import { Router } from "express";
import { callerOf, requireScope } from "../auth.ts";
import type { ApiContext } from "../context.ts";
import { bodyOf, nameOf } from "../request-parsing.ts";

export function keyRoutes({ keys }: ApiContext): Router {
  const router = Router();
  router.use((_request, response, next) => {
    requireScope(response, "admin");
    next();
  });

  router.post("/", async (request, response) => {
    const created = await keys.create(bodyOf(request, keyRequestSchema), callerOf(response).name);
    response.status(201).location(`/v1/keys/${created.name}`).set("Cache-Control", "no-store").json(created);
  });

  router.get("/", async (_request, response) => {
    response.json({ keys: await keys.list() });
  });

  router.delete("/:name", async (request, response) => {
    await keys.revoke(nameOf(request.params.name, "the key's name"));
    response.status(204).end();
  });
  return router;
}
