/** Watching a job: its state now or when it changes (long poll), its events as a stream, its log. */
import { once } from "node:events";
import { hasEnded, type LogLine, MAX_WAIT_SECONDS } from "@cardinal/contracts";
import type { JobRecord } from "@cardinal/queue";
import { type Request, type Response, Router } from "express";
import { z } from "zod";
import type { ApiContext } from "../context.ts";
import { EventStream } from "../event-stream.ts";
import { seenBy, tellJob } from "../job-events.ts";
import { wholeJobView } from "../job-view.ts";
import { jobIdOf, queryOf } from "../request-parsing.ts";

const viewQuerySchema = z.strictObject({
  /** Seconds to wait for the job's end, or for a change (`since`). */
  wait: z.number().min(0).max(MAX_WAIT_SECONDS).default(0),
  /** `revision` of the view that the caller has. */
  since: z.int().min(0).optional(),
});

const logQuerySchema = z.strictObject({
  format: z.enum(["jsonl", "text"]).default("jsonl"),
  after: z
    .string()
    .regex(/^\d{1,15}-\d{1,15}$/, "is not the id of a line")
    .optional(),
  limit: z.int().min(1).max(1_000).default(1_000),
  follow: z.enum(["true", "false"]).default("false"),
});

/** Looks without being told, for messages that were lost with a connection. */
const LOOK_MS = 5_000;
/** The line that tells of a job's end comes right after it. */
const LAST_LINE_MS = 500;
/** A followed log that has nothing to say shows with an empty line that it lives. */
const HEARTBEAT_MS = 15_000;

export function watchingRoutes(context: ApiContext): Router {
  const { queue } = context;
  const router = Router();

  router.get("/:id", async (request, response) => {
    const id = jobIdOf(request);
    const query = queryOf(request, viewQuerySchema, ["wait", "since"]);
    const job = await queue.get(id);
    const isNews = (seen: JobRecord) =>
      hasEnded(seen.state) || (query.since !== undefined && seen.revision !== query.since);
    const seen = query.wait === 0 || isNews(job) ? job : await nextNews(context, job, query.wait, isNews, response);
    response.set("Cache-Control", "no-store").json(await wholeJobView(queue, seen));
  });

  router.get("/:id/events", async (request, response) => {
    const job = await queue.get(jobIdOf(request));
    const seen = seenBy(request.get("Last-Event-ID"));
    if (seen?.ended && hasEnded(job.state) && seen.revision === job.revision) {
      // Readers of the kind of a browser's EventSource come back until they are told this.
      response.status(204).end();
      return;
    }
    using open = context.streams.open(response);
    await untilGone(open.signal, () => tellJob(context, job.id, new EventStream(response, open.signal), seen));
    response.end();
  });

  router.get("/:id/logs", (request, response) => answerLog(context, request, response));
  return router;
}

async function nextNews(
  { queue, watcher, streams }: ApiContext,
  job: JobRecord,
  seconds: number,
  isNews: (job: JobRecord) => boolean,
  response: Response,
): Promise<JobRecord> {
  using open = streams.open(response);
  using watch = watcher.watch(job.id);
  const deadline = performance.now() + seconds * 1000;
  let seen = job;
  while (!isNews(seen) && !open.signal.aborted && performance.now() < deadline) {
    await watch.changed(Math.min(LOOK_MS, deadline - performance.now()), open.signal);
    seen = await queue.get(job.id);
  }
  return seen;
}

async function answerLog(context: ApiContext, request: Request, response: Response): Promise<void> {
  const { queue } = context;
  const { format, limit, ...query } = queryOf(request, logQuerySchema, ["limit"]);
  const job = await queue.get(jobIdOf(request));
  const first = await queue.log(job.id, { after: query.after, limit });
  const formatLine = format === "text" ? textLine : jsonLine;
  response
    .set("Cache-Control", "no-store")
    .type(format === "text" ? "text/plain; charset=utf-8" : "application/x-ndjson");
  if (query.follow === "false") {
    response.send(first.map(formatLine).join(""));
    return;
  }
  using open = context.streams.open(response);
  response.flushHeaders();
  await untilGone(open.signal, () => followLog(context, job, first, formatLine, response, open.signal));
  response.end();
}

/** Writes lines until the job has ended; the lines that are not yet written lie in Redis, not here. */
async function followLog(
  { queue, watcher }: ApiContext,
  job: JobRecord,
  first: readonly LogLine[],
  formatLine: (line: LogLine) => string,
  response: Response,
  signal: AbortSignal,
): Promise<void> {
  using watch = watcher.watch(job.id);
  const write = async (text: string) => {
    if (!response.write(text)) await once(response, "drain", { signal });
  };
  let lines = first;
  let last = first.at(-1)?.id;
  let wroteAt = performance.now();
  let isLast = false;
  for (;;) {
    for (const line of lines) await write(formatLine(line));
    if (lines.length > 0) wroteAt = performance.now();
    last = lines.at(-1)?.id ?? last;
    const ended = hasEnded((await queue.get(job.id)).state);
    lines = await queue.log(job.id, { after: last, limit: 1_000 });
    if (lines.length > 0) continue;
    if (ended && isLast) return;
    isLast = ended;
    if (performance.now() - wroteAt >= HEARTBEAT_MS) {
      await write("\n");
      wroteAt = performance.now();
    }
    await watch.changed(ended ? LAST_LINE_MS : LOOK_MS, signal);
    signal.throwIfAborted();
  }
}

/** Runs to its end, or until the reader has gone, which is no error. */
async function untilGone(signal: AbortSignal, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

const jsonLine = (line: LogLine): string => `${JSON.stringify(line)}\n`;

function textLine({ time, level, message, fields }: LogLine): string {
  const shown = Object.entries(fields ?? {}).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return `${[time, level.toUpperCase().padEnd(5), JSON.stringify(message).slice(1, -1), ...shown].join(" ")}\n`;
}
