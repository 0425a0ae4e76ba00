/** The contact sheet of a predict job: pictures that a worker has made become a page. */
import { CardinalError, problem } from "@cardinal/contracts";
import type { JobRecord } from "@cardinal/queue";
import { contactSheetPage, parseContactSheet } from "@cardinal/report/contact-sheet";
import { layout, type ObjectStore } from "@cardinal/storage";
import type { Response } from "express";
import { z } from "zod";
import { asPage } from "./page-headers.ts";

export const contactSheetQuerySchema = z.strictObject({
  offset: z.int().min(0).default(0),
  limit: z.int().min(1).max(500).default(100),
});

/** What the page says of the job, out of its result. */
const summarySchema = z.object({ model: z.string(), images: z.int(), accuracy: z.number().optional() });

/** Throws `not_found` when the job has no sheet: its worker keeps none, or could not make it (its log says why). */
export async function sendContactSheet(
  store: ObjectStore,
  job: JobRecord,
  part: z.infer<typeof contactSheetQuerySchema>,
  response: Response,
): Promise<void> {
  const { images: rows, ...summary } = summarySchema.parse(job.result);
  const cells = parseContactSheet(await readSheet(store, job.id));
  const html = contactSheetPage({ ...summary, job: job.id, rows, cells, ...part });
  asPage(response);
  response.type("text/html; charset=utf-8").send(html);
}

async function readSheet(store: ObjectStore, job: string): Promise<Buffer> {
  try {
    return await store.read(layout.contactSheet(job));
  } catch (error) {
    if (!(error instanceof CardinalError) || error.code !== "object_not_found") throw error;
    throw problem(
      "not_found",
      `job ${job} has no contact sheet: CONTACT_SHEET_IMAGES of its worker is 0, or it failed`,
    );
  }
}
