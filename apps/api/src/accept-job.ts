/** The answer to a request that made a job: 202, the view, and where to look. */
import type { JobQueue, JobRecord } from "@cardinal/queue";
import type { Response } from "express";
import { jobView } from "./job-view.ts";

export async function answerAccepted(response: Response, queue: JobQueue, job: JobRecord): Promise<void> {
  response
    .status(202)
    .location(`/v1/jobs/${job.id}`)
    .json(await jobView(queue, job));
}
