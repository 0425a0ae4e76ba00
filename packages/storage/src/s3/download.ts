/**
 * A download that survives a cut or stalled connection: it goes on from the byte where it stopped, under `if-match` of
 * the first answer's etag, so the bytes are of one object. Tries without progress are bounded.
 *
 * The idle timer runs only while a byte is awaited: a slow reader is no stalled server.
 */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { addAbortSignal, PassThrough, type Readable } from "node:stream";
import type { GetOptions } from "../object-store.ts";
import { changed } from "../pointers.ts";
import { outside } from "../ranges.ts";
import { type Bucket, bareEtag } from "./bucket.ts";
import { isTransient, s3Problem, statusOf } from "./problems.ts";
import { ATTEMPTS, pause, withRetries } from "./retries.ts";
import { IdleTimeout } from "./transport.ts";

/** Less than this is no progress: a server that sends some bytes and stalls, again and again, comes to an end. */
const PROGRESS_BYTES = 64 * 1024;
const BUFFER_BYTES = 256 * 1024;

export interface Place {
  bucket: Bucket;
  /** The store's description, for errors. */
  store: string;
  key: string;
}

/** Resolves when the first answer is there. */
export async function download(place: Place, { range, signal }: GetOptions): Promise<Readable> {
  const stop = new AbortController();
  const ended = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  const first = range?.first ?? 0;
  const open = (from: number, etag?: string) => request(place, from, range?.last, range !== undefined, etag, ended);
  const answer = await withRetries(ended, () => open(first)).catch((error: unknown) => {
    throw statusOf(error) === 416 ? outside(place.key, first) : error;
  });
  const out = new PassThrough({ highWaterMark: BUFFER_BYTES });
  out.once("close", () => stop.abort());
  if (signal) addAbortSignal(signal, out);
  const total = Number(answer.headers["content-length"]);
  pump(place, answer, out, { at: first, end: first + total, open, ended }).catch((error: unknown) =>
    out.destroy(error as Error),
  );
  return out;
}

interface Run {
  /** The next byte to come, and the one after the last. */
  at: number;
  end: number;
  open: (from: number, etag: string) => Promise<IncomingMessage>;
  ended: AbortSignal;
}

async function pump(place: Place, first: IncomingMessage, out: PassThrough, run: Run): Promise<void> {
  const etag = bareEtag(first.headers.etag);
  let answer: IncomingMessage | undefined = first;
  let tries = 1;
  let mark = run.at;
  for (;;) {
    try {
      answer ??= await run.open(run.at, etag);
      await copy(answer, out, run, place.bucket.transport.idleTimeoutMs);
      out.end();
      return;
    } catch (error) {
      answer?.destroy();
      answer = undefined;
      if (run.ended.aborted) return;
      if (run.at - mark >= PROGRESS_BYTES) tries = 0;
      mark = run.at;
      // Gone, or another object under the key: what was sent already cannot be completed.
      if ([404, 412, 416].includes(statusOf(error) ?? 0)) throw changed(place.key);
      if (++tries > ATTEMPTS || !isTransient(error)) throw s3Problem(error, place.store, place.key);
      await pause(tries - 1 || 1, run.ended).catch(() => {});
    }
  }
}

async function copy(answer: IncomingMessage, out: PassThrough, run: Run, idleTimeoutMs: number): Promise<void> {
  answer.socket.setTimeout(0);
  const arm = () => setTimeout(() => answer.destroy(new IdleTimeout(idleTimeoutMs)), idleTimeoutMs);
  let idle = arm();
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      clearTimeout(idle);
      run.at += chunk.length;
      if (run.at > run.end) throw new Error(`more bytes than the ${run.end} that were announced`);
      if (!out.write(chunk)) await once(out, "drain", { signal: run.ended });
      idle = arm();
    }
  } finally {
    clearTimeout(idle);
  }
  if (run.at < run.end)
    throw Object.assign(new Error("the answer ended early"), { code: "ERR_STREAM_PREMATURE_CLOSE" });
}

async function request(
  { bucket, key }: Place,
  from: number,
  last: number | undefined,
  ranged: boolean,
  etag: string | undefined,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const headers: Record<string, string> = {};
  if (ranged || from > 0) headers.range = `bytes=${from}-${last ?? ""}`;
  if (etag !== undefined) headers["if-match"] = `"${etag}"`;
  return await bucket.send({ method: "GET", key, headers, signal });
}
