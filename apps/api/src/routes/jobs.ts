/** Jobs: list, cancel, and fetch what a predict job has answered. Looking at one: watching.ts. */
import { pipeline } from "node:stream/promises";
import { jobKindSchema, jobStateSchema, problem } from "@cardinal/contracts";
import type { JobRecord } from "@cardinal/queue";
import { layout } from "@cardinal/storage";
import { type Request, type Response, Router } from "express";
import { z } from "zod";
import type { ApiContext } from "../context.ts";
import { jobView } from "../job-view.ts";
import { purgeJob } from "../purge-job.ts";
import { jobIdOf, queryOf } from "../request-parsing.ts";
import { resultsCsv } from "../results-csv.ts";
import { sendObject } from "../send-object.ts";

const listQuerySchema = z.strictObject({
  kind: jobKindSchema.optional(),
  state: jobStateSchema.optional(),
  cursor: z.string().max(100).optional(),
  limit: z.int().min(1).max(200).default(50),
});

/** `purge=true`: an ended job is removed with its results, where otherwise an open one is cancelled. */
const deleteQuerySchema = z.strictObject({ purge: z.enum(["true", "false"]).default("false") });

const resultsQuerySchema = z.strictObject({ format: z.enum(["jsonl", "csv"]).default("jsonl") });

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
      await purgeJob(context, jobIdOf(request));
      response.status(204).end();
      return;
    }
    const { job, before } = await queue.cancel(jobIdOf(request));
    if (before !== "cancelled") metrics.jobs.inc({ kind: job.kind, outcome: "cancelled" });
    response.json(await jobView(queue, job));
  });

  router.get("/:id/results", async (request, response) => {
    const job = await queue.get(jobIdOf(request));
    const { format } = queryOf(request, resultsQuerySchema, []);
    await sendRows(context, job, format, request, response);
  });

  router.get("/:id/errors", async (request, response) => {
    const job = await queue.get(jobIdOf(request));
    refuseWithoutResults(job);
    await sendObject(context.store, layout.errors(job.id), request, response, "application/x-ndjson");
  });
  return router;
}

async function sendRows({ store }: ApiContext, job: JobRecord, format: string, request: Request, response: Response) {
  refuseWithoutResults(job);
  const key = layout.rows(job.id);
  if (format === "jsonl") {
    await sendObject(store, key, request, response, "application/x-ndjson");
    return;
  }
  const rows = await store.get(key);
  response.type("text/csv; charset=utf-8").attachment(`${job.id}.csv`);
  await pipeline(rows, resultsCsv(), response);
}

function refuseWithoutResults(job: JobRecord): void {
  if (job.kind !== "predict") throw problem("not_found", `a job of kind ${job.kind} has no result rows`);
  if (!job.result) {
    throw problem("results_not_ready", `job ${job.id} is ${job.state} and has no result rows`, { state: job.state });
  }
}
