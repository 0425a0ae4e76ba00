/** What a predict job has answered: rows, error rows, features. */
import { npyMatrixHeader, safetensorsMatrixHeader } from "@cardinal/checkpoint";
import { type Output, problem } from "@cardinal/contracts";
import type { JobRecord } from "@cardinal/queue";
import { layout } from "@cardinal/storage";
import { Router } from "express";
import { z } from "zod";
import type { ApiContext } from "../context.ts";
import { jobIdOf, queryOf } from "../request-parsing.ts";
import { contactSheetQuerySchema, sendContactSheet } from "../send-contact-sheet.ts";
import { type SentObject, sendObject } from "../send-object.ts";

const formatSchema = z.enum(["jsonl", "csv", "names", "safetensors", "npy"]);
const resultsQuerySchema = z.strictObject({ format: formatSchema.default("jsonl") });

const LINES = "application/x-ndjson";

export function resultRoutes({ store, queue }: ApiContext): Router {
  const router = Router();

  router.get("/:id/results", async (request, response) => {
    const job = await queue.get(jobIdOf(request));
    const { format } = queryOf(request, resultsQuerySchema, []);
    refuseWithoutResults(job);
    await sendObject(store, fileOf(job, format), request, response);
  });

  router.get("/:id/errors", async (request, response) => {
    const job = await queue.get(jobIdOf(request));
    refuseWithoutResults(job);
    await sendObject(store, { key: layout.errors(job.id), contentType: LINES, compress: true }, request, response);
  });

  router.get("/:id/contact-sheet", async (request, response) => {
    const job = await queue.get(jobIdOf(request));
    const part = queryOf(request, contactSheetQuerySchema, ["offset", "limit"]);
    refuseWithoutResults(job);
    await sendContactSheet(store, job, part, response);
  });
  return router;
}

/** Throws `invalid_request` for features of a job that has none. */
function fileOf(job: JobRecord, format: z.infer<typeof formatSchema>): SentObject {
  const { id } = job;
  switch (format) {
    case "jsonl":
      return { key: layout.rows(id), contentType: LINES, compress: true };
    case "csv":
      return {
        key: layout.rowsCsv(id),
        contentType: "text/csv; charset=utf-8",
        fileName: `${id}.csv`,
        compress: true,
      };
    default:
      return featuresFile(job, format);
  }
}

function featuresFile(job: JobRecord, format: "names" | "safetensors" | "npy"): SentObject {
  const { id, result, payload } = job;
  if ((payload.output as Output | undefined) !== "features") {
    throw problem("invalid_request", `job ${id} has no features: submit it with "output": "features"`, {
      path: "format",
    });
  }
  if (format === "names") return { key: layout.featureNames(id), contentType: LINES, compress: true };
  const file = {
    key: layout.featureMatrix(id),
    contentType: "application/octet-stream",
    fileName: `${id}.${format}`,
  };
  if (format === "safetensors") return file;
  // The same values behind another header: they are stored once.
  const [rows, width] = [Number(result?.succeeded), Number(result?.featureWidth)];
  const skip = safetensorsMatrixHeader(rows, width).length;
  return { ...file, front: { head: npyMatrixHeader(rows, width), skip, format } };
}

function refuseWithoutResults(job: JobRecord): void {
  if (job.kind !== "predict") throw problem("not_found", `a job of kind ${job.kind} has no result rows`);
  if (!job.result) {
    throw problem("results_not_ready", `job ${job.id} is ${job.state} and has no result rows`, { state: job.state });
  }
}
