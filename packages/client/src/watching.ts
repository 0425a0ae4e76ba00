/** Watching a job: to its end, by its events, by its log. All of it goes on after an outage, where it had stopped. */
import { setTimeout as sleep } from "node:timers/promises";
import {
  hasEnded,
  type JobEvent,
  type JobView,
  jobEventSchema,
  jobViewSchema,
  type LogLine,
  logLineSchema,
} from "@cardinal/contracts";
import { type Connection, call, callJson } from "./http.ts";
import { readLines } from "./lines.ts";
import { Patience } from "./patience.ts";

/** Of one long poll; the API's own limit is 60. */
const WAIT_SECONDS = 30;
/** Changes that come faster are seen as one. */
const SHORTEST_GAP_MS = 100;

export interface WaitOptions {
  signal?: AbortSignal;
  /** Hears of the job at once and whenever it has changed. */
  onProgress?(job: JobView): void;
}

/**
 * The job when it has ended, whatever its end. An API that is away, or has lost its Redis, is waited for: the error is
 * thrown when it lasts longer than a minute.
 */
export async function waitForEnd(connection: Connection, id: string, options: WaitOptions): Promise<JobView> {
  const { signal, onProgress } = options;
  const patience = new Patience(signal);
  // Revisions begin at 1, so the first look is answered at once.
  let since = onProgress && 0;
  for (;;) {
    try {
      const query = { wait: WAIT_SECONDS, since };
      const job = await callJson(connection, jobViewSchema, pathOf(id), { query, signal });
      patience.good();
      const isNews = job.revision !== since;
      if (isNews) onProgress?.(job);
      if (hasEnded(job.state)) return job;
      since = onProgress && job.revision;
    } catch (error) {
      await patience.after(error);
    }
    await sleep(SHORTEST_GAP_MS, undefined, { signal });
  }
}

/** What is told of the job until it has ended: a snapshot first, `end` last. */
export async function* jobEvents(connection: Connection, id: string, signal?: AbortSignal): AsyncGenerator<JobEvent> {
  const patience = new Patience(signal);
  let last: string | undefined;
  for (;;) {
    try {
      const headers = { accept: "text/event-stream", ...(last !== undefined && { "last-event-id": last }) };
      const response = await call(connection, `${pathOf(id)}/events`, { headers, signal });
      if (response.status === 204) return;
      for await (const { event, id: eventId } of parseEvents(response, signal)) {
        patience.good();
        if (eventId !== undefined) last = eventId;
        yield event;
        if (event.event === "end" || (event.event === "problem" && event.data.code === "job_not_found")) return;
      }
    } catch (error) {
      await patience.after(error);
    }
    await sleep(SHORTEST_GAP_MS, undefined, { signal });
  }
}

/** Fields of an event, one a line, up to an empty line (WHATWG HTML, "server-sent events"). */
async function* parseEvents(response: Response, signal?: AbortSignal) {
  let fields: Record<string, string> = {};
  for await (const { text } of readLines(response, signal)) {
    if (text === "") {
      if (fields.data !== undefined) {
        const event = jobEventSchema.parse({ event: fields.event, data: JSON.parse(fields.data) });
        yield { event, id: fields.id };
      }
      fields = {};
      continue;
    }
    const colon = text.indexOf(":");
    if (colon > 0) fields[text.slice(0, colon)] = text.slice(colon + 1).replace(/^ /, "");
  }
}

export interface LogOptions {
  /** Lines after this one. */
  after?: string;
  /** Goes on until the job has ended. */
  follow?: boolean;
  signal?: AbortSignal;
}

export async function* jobLog(connection: Connection, id: string, options: LogOptions): AsyncGenerator<LogLine> {
  const { follow = false, signal } = options;
  const patience = new Patience(signal);
  let after = options.after;
  for (;;) {
    try {
      const query = { after, follow: String(follow) };
      const response = await call(connection, `${pathOf(id)}/logs`, { query, signal });
      for await (const { text } of readLines(response, signal)) {
        patience.good();
        if (text === "") continue;
        const line = logLineSchema.parse(JSON.parse(text));
        after = line.id;
        yield line;
      }
      return;
    } catch (error) {
      await patience.after(error);
    }
  }
}

const pathOf = (id: string): string => `/v1/jobs/${encodeURIComponent(id)}`;
