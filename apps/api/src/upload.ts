/** Takes a request's archive into the store: the raw body, or the multipart field `file`. */
import { PassThrough, type Readable, type Transform } from "node:stream";
import { problem } from "@cardinal/contracts";
import type { ObjectStore, PutResult } from "@cardinal/storage";
import busboy from "busboy";
import type { Request } from "express";

/** An upload that brings nothing for so long has failed. */
const IDLE_MS = 60_000;

const RAW_TYPES = ["application/zip", "application/x-zip-compressed", "application/octet-stream"];

/**
 * Stores the archive under `key` and gives its size and digest. Throws `unsupported_media_type`, `body_too_large`,
 * `upload_failed` (the client went away, sent fewer bytes than it said, or stopped sending); nothing is stored then.
 */
export async function receiveArchive(
  request: Request,
  store: ObjectStore,
  key: string,
  maxBytes: number,
): Promise<PutResult> {
  const declared = Number(request.get("Content-Length") ?? Number.NaN);
  if (declared > maxBytes) throw tooLarge(maxBytes);
  if (request.is("multipart/form-data")) return receiveForm(request, store, key, maxBytes);
  if (!request.is(RAW_TYPES)) {
    throw problem("unsupported_media_type", "send a zip archive as application/zip, or as multipart field 'file'");
  }
  return putGuarded(store, key, guard(request, request, maxBytes), Number.isNaN(declared) ? undefined : declared);
}

async function receiveForm(request: Request, store: ObjectStore, key: string, maxBytes: number): Promise<PutResult> {
  const form = busboy({ headers: request.headers, limits: { files: 1, fields: 10 } });
  const { promise, resolve, reject } = Promise.withResolvers<PutResult>();
  let found = false;
  form.on("file", (field, file) => {
    if (field !== "file") {
      file.resume();
      return;
    }
    found = true;
    putGuarded(store, key, guard(file, request, maxBytes)).then(resolve, reject);
  });
  form.on(
    "close",
    () => found || reject(problem("invalid_request", "the form has no file field 'file'", { path: "file" })),
  );
  form.on("error", (error) => reject(problem("upload_failed", (error as Error).message)));
  request.on("close", () => request.complete || form.destroy(problem("upload_failed", "the client went away")));
  request.pipe(form);
  return promise;
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

const tooLarge = (maxBytes: number) =>
  problem("body_too_large", `the upload is larger than ${Math.floor(maxBytes / 1e6)} MB`, { maxBytes });

/** A small body, whole in memory. */
export async function receiveBytes(request: Request, maxBytes: number): Promise<Buffer> {
  if (Number(request.get("Content-Length") ?? 0) > maxBytes) throw tooLarge(maxBytes);
  const chunks: Buffer[] = [];
  for await (const chunk of guard(request, request, maxBytes)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
