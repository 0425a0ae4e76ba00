/** What is told of a job while it is watched: the events of its stream, and the lines of its log. */
import { z } from "zod";
import { jobViewSchema, problemRecordSchema } from "./jobs.ts";
import { epochSchema } from "./training.ts";

/** How long a long poll or a stream's reader waits at most, in seconds. */
export const MAX_WAIT_SECONDS = 60;

const changeSchema = jobViewSchema.omit({ request: true, result: true, links: true });

/**
 * Events of `GET /v1/jobs/:id/events`:
 * - `snapshot`: the whole view; first in a stream, and whenever what the reader knows may be incomplete.
 * - `change`: what changes of a view, without the finished epochs. Only the latest is sent to a slow reader.
 * - `epoch`: a finished epoch of a training, each once and in order.
 * - `end`: the whole view of a job that has ended; the stream ends with it.
 * - `problem`: `queue_unavailable` while Redis cannot be asked (the stream goes on), or `job_not_found` when the job is
 *   no longer kept (the stream ends).
 */
export const jobEventSchema = z.discriminatedUnion("event", [
  z.strictObject({ event: z.literal("snapshot"), data: jobViewSchema }),
  z.strictObject({ event: z.literal("change"), data: changeSchema }),
  z.strictObject({ event: z.literal("epoch"), data: epochSchema }),
  z.strictObject({ event: z.literal("end"), data: jobViewSchema }),
  z.strictObject({ event: z.literal("problem"), data: problemRecordSchema }),
]);
export type JobEvent = z.infer<typeof jobEventSchema>;

export const logLevelSchema = z.enum(["info", "warn", "error"]);
export type LogLevel = z.infer<typeof logLevelSchema>;

/** One line of a job's log. */
export const logLineSchema = z.strictObject({
  /** Place in the log: `after=<id>` gives what follows. */
  id: z.string(),
  time: z.iso.datetime(),
  level: logLevelSchema,
  message: z.string(),
  fields: z.record(z.string(), z.unknown()).optional(),
});
export type LogLine = z.infer<typeof logLineSchema>;
