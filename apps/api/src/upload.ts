/** Takes a request's file into the store: the raw body, or the multipart field `file`. */
import { PassThrough, type Readable, type Transform } from "node:stream";
import { text as textOf } from "node:stream/consumers";
import { finished } from "node:stream/promises";
import { CardinalError, problem } from "@cardinal/contracts";
import type { ObjectStore, PutResult } from "@cardinal/storage";
import busboy from "busboy";
import type { Request } from "express";
import type { ApiContext } from "./context.ts";

/** An upload that brings nothing for so long has failed. */
const IDLE_MS = 60_000;

/** Texts of a form beside its file; a class index of 100,000 names fits. */
const FIELD_BYTES = 8e6;

export interface Received extends PutResult {
  /** The form's other fields, whether they came as texts or as files. */
  fields: Map<string, string>;
}

export interface ReceiveOptions {
  key: string;
  maxBytes: number;
  /** Content types of a raw body. */
  types: string[];
}

/**
 * Stores the file under `key` and gives its size and digest. Throws `unsupported_media_type`, `body_too_large`,
 * `upload_failed` (the client went away, sent fewer bytes than it said, or stopped sending); nothing is stored then.
 */
export async function receiveFile(request: Request, store: ObjectStore, options: ReceiveOptions): Promise<Received> {
  const { key, maxBytes, types } = options;
  const declared = Number(request.get("Content-Length") ?? Number.NaN);
  if (declared > maxBytes) throw tooLarge(maxBytes);
  if (request.is("multipart/form-data")) return receiveForm(request, store, key, maxBytes);
  if (!request.is(types)) {
    throw problem("unsupported_media_type", `send the file as ${types[0]}, or as multipart field 'file'`);
  }
  const body = guard(request, request, maxBytes);
  const stored = await putGuarded(store, key, body, Number.isNaN(declared) ? undefined : declared);
  return { ...stored, fields: new Map() };
}

async function receiveForm(request: Request, store: ObjectStore, key: string, maxBytes: number): Promise<Received> {
  const form = formParser(request);
  // `arrival` hears of errors; one that comes after it must not end the process.
  form.on("error", () => {});
  const fields = new Map<string, string>();
  const pending: Promise<unknown>[] = [];
  let stored: Promise<PutResult> | undefined;
  /** A part that fails ends the form: nobody would read the rest of it, and the client would wait for ever. */
  const take = <T>(work: Promise<T>): Promise<T> => {
    work.catch((error) => form.destroy(error));
    pending.push(work);
    return work;
  };
  form.on("field", (name, value, { valueTruncated }) => {
    if (valueTruncated) form.destroy(tooLarge(FIELD_BYTES));
    else fields.set(name, value);
  });
  form.on("file", (name, file) => {
    if (name !== "file") {
      take(textOf(guard(file, request, FIELD_BYTES)).then((value) => fields.set(name, value)));
    } else if (stored) {
      // A part that nobody listens to must not fail unheard when the form is cut short.
      file.on("error", () => {}).resume();
    } else {
      stored = take(putGuarded(store, key, guard(file, request, maxBytes)));
    }
  });
  try {
    await arrival(request, form);
    await Promise.all(pending);
  } catch (error) {
    // What the store or a limit says of the file is nearer to the truth than how the form then ended.
    const outcomes = await Promise.allSettled(pending);
    const refused = outcomes.find((outcome) => outcome.status === "rejected");
    await store.delete(key);
    throw (
      refused?.reason ?? (error instanceof CardinalError ? error : problem("upload_failed", (error as Error).message))
    );
  }
  if (!stored) throw problem("invalid_request", "the form has no file field 'file'", { path: "file" });
  return { ...(await stored), fields };
}

/** Throws `invalid_request` for a Content-Type without a boundary and the like. */
function formParser(request: Request): busboy.Busboy {
  try {
    return busboy({ headers: request.headers, limits: { files: 5, fields: 20, fieldSize: FIELD_BYTES } });
  } catch (error) {
    throw problem("invalid_request", `the form cannot be read: ${(error as Error).message}`, undefined, error);
  }
}

/**
 * Resolves when the whole form has been parsed; rejects when it ends early, stops arriving or is destroyed. Not
 * `pipeline`, which would close the request's connection with the first error: the client is to get an answer.
 */
async function arrival(request: Request, form: busboy.Busboy): Promise<void> {
  const onClose = () => request.complete || form.destroy(problem("upload_failed", "the client went away"));
  const idle = setTimeout(() => form.destroy(problem("upload_failed", "the upload stopped")), IDLE_MS);
  const onData = () => idle.refresh();
  request.on("close", onClose).on("data", onData);
  try {
    await finished(request.pipe(form));
  } finally {
    clearTimeout(idle);
    request.off("close", onClose).off("data", onData).unpipe(form);
  }
}

/** The store reports a source that failed as `upload_failed`: what it failed of says more. */
async function putGuarded(store: ObjectStore, key: string, source: Readable, bytes?: number): Promise<PutResult> {
  try {
    return await store.put(key, source, { bytes });
  } catch (error) {
    throw source.errored ?? error;
  }
}

/** The bytes of `source`, which fail when there are too many, when they stop coming, or when the request ends early. */
function guard(source: Readable, request: Request, maxBytes: number): Readable {
  let bytes = 0;
  const idle = setTimeout(() => out.destroy(problem("upload_failed", "the upload stopped")), IDLE_MS);
  const out: Transform = new PassThrough({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      idle.refresh();
      if (bytes > maxBytes) done(tooLarge(maxBytes));
      else done(null, chunk);
    },
  });
  out.on("close", () => clearTimeout(idle));
  source.on("error", (error) => out.destroy(problem("upload_failed", error.message)));
  request.on("close", () => {
    if (!request.complete) out.destroy(problem("upload_failed", "the client went away before the upload was whole"));
  });
  return source.pipe(out);
}

/**
 * Removes an upload whose job was refused. A job that was accepted keeps its file, and so does one of which Redis does
 * not say now whether it was: housekeeping removes after a day what no job wants.
 */
export async function dropUpload(
  { queue, store }: ApiContext,
  job: string,
  key: string,
  refusal: unknown,
): Promise<void> {
  // To ask a Redis that has just not answered would keep the caller waiting as long again: housekeeping asks later.
  if (refusal instanceof CardinalError && refusal.code === "queue_unavailable") return;
  const isRefused = await queue.get(job).then(
    () => false,
    (error) => error instanceof CardinalError && error.code === "job_not_found",
  );
  if (isRefused) await store.delete(key);
}

const tooLarge = (maxBytes: number) =>
  problem("body_too_large", `the upload is larger than ${Math.floor(maxBytes / 1e6)} MB`, { maxBytes });

/** A small body, whole in memory. */
export async function receiveBytes(request: Request, maxBytes: number): Promise<Buffer> {
  if (Number(request.get("Content-Length") ?? 0) > maxBytes) throw tooLarge(maxBytes);
  const chunks: Buffer[] = [];
  for await (const chunk of guard(request, request, maxBytes)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
