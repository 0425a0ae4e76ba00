/** Jobs: list and cancel. Looking at one: watching.ts; what a predict job has answered: results.ts. */
import { jobKindSchema, jobStateSchema } from "@cardinal/contracts";
import { Router } from "express";
import { z } from "zod";
import { requireScope } from "../auth.ts";
import type { ApiContext } from "../context.ts";
import { jobView } from "../job-view.ts";
import { purgeJob } from "../purge-job.ts";
import { jobIdOf, queryOf } from "../request-parsing.ts";

const listQuerySchema = z.strictObject({
  kind: jobKindSchema.optional(),
  state: jobStateSchema.optional(),
  cursor: z.string().max(100).optional(),
  limit: z.int().min(1).max(200).default(50),
});

/** `purge=true`: an ended job is removed with its results, where otherwise an open one is cancelled. */
const deleteQuerySchema = z.strictObject({ purge: z.enum(["true", "false"]).default("false") });

export function jobRoutes(context: ApiContext): Router {
  const { queue, metrics } = context;
  const router = Router();

  router.get("/", async (request, response) => {
    const page = await queue.list(queryOf(request, listQuerySchema, ["limit"]));
    const jobs = await Promise.all(page.jobs.map((job) => jobView(queue, job)));
    response.json({ jobs, ...(page.next !== undefined && { nextCursor: page.next }) });
  });

  router.delete("/:id", async (request, response) => {
    if (queryOf(request, deleteQuerySchema, []).purge === "true") {
      requireScope(response, "admin");
      await purgeJob(context, jobIdOf(request));
      response.status(204).end();
      return;
    }
    const { job, before } = await queue.cancel(jobIdOf(request));
    if (before !== "cancelled") metrics.jobs.inc({ kind: job.kind, outcome: "cancelled" });
    response.json(await jobView(queue, job));
  });
  return router;
}
