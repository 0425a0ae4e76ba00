/**
 * An object of the store as an answer: whole, a range of it, or compressed.
 *
 * Ranges are of the bytes as they are stored: a request with `Range` is answered uncompressed, whatever it accepts. A
 * compressed answer has an ETag of its own, no length, and no ranges: who wants to resume asks for the plain bytes.
 */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { problem } from "@cardinal/contracts";
import type { ObjectInfo, ObjectStore } from "@cardinal/storage";
import type { Request, Response } from "express";

export interface SentObject {
  key: string;
  contentType: string;
  /** Name to save it under; without, it may be shown. */
  fileName?: string;
  /** Text that a client may have as gzip. */
  compress?: boolean;
  /** Other first bytes: `head` in the place of the object's first `skip` bytes. `format` tells the answers apart. */
  front?: { head: Buffer; skip: number; format: string };
}

/** A level at which half a CPU compresses as fast as a store gives. */
const GZIP_LEVEL = 4;

export async function sendObject(store: ObjectStore, sent: SentObject, request: Request, response: Response) {
  const info = await store.stat(sent.key);
  if (!info) throw problem("not_found", "the file is not there");
  const compressed = sent.compress === true && acceptsGzip(request);
  const etag = etagOf(info, sent.front?.format, compressed);
  if (
    request
      .get("If-None-Match")
      ?.split(/\s*,\s*/)
      .includes(etag)
  ) {
    response
      .status(304)
      .set({ ETag: etag, ...varies(sent) })
      .end();
    return;
  }
  const total = info.bytes + (sent.front ? sent.front.head.length - sent.front.skip : 0);
  const range = compressed ? undefined : rangeOf(request, response, etag, total);
  const isEmpty = request.method === "HEAD" || total === 0;
  // Opened before the headers are set: the answer to a failure must not carry those of the file.
  const body = isEmpty ? undefined : await open(store, sent, range ?? { start: 0, end: total - 1 });
  response.type(sent.contentType).set({ ETag: etag, "Accept-Ranges": compressed ? "none" : "bytes", ...varies(sent) });
  if (sent.fileName) response.attachment(sent.fileName).type(sent.contentType);
  if (compressed) response.set("Content-Encoding", "gzip");
  else response.set("Content-Length", String(range ? range.end - range.start + 1 : total));
  if (range) response.status(206).set("Content-Range", `bytes ${range.start}-${range.end}/${total}`);
  if (!body) response.end();
  else if (compressed) await pipeline(body, createGzip({ level: GZIP_LEVEL }), response);
  else await pipeline(body, response);
}

const varies = ({ compress }: SentObject) => (compress ? { Vary: "Accept-Encoding" } : {});

function acceptsGzip(request: Request): boolean {
  // Without the header Express takes the first of the list for accepted.
  if (request.get("Accept-Encoding") === undefined || request.get("Range") !== undefined) return false;
  return request.acceptsEncodings(["gzip", "identity"]) === "gzip";
}

function etagOf({ etag }: ObjectInfo, format: string | undefined, compressed: boolean): string {
  const variant = `${format ? `-${format}` : ""}${compressed ? "-gzip" : ""}`;
  return `"${etag.replaceAll('"', "")}${variant}"`;
}

interface Span {
  start: number;
  end: number;
}

/** The one range asked for; undefined for the whole. Throws `range_not_satisfiable`. */
function rangeOf(request: Request, response: Response, etag: string, total: number): Span | undefined {
  // A range of a file that has changed since would not fit to what the client has: it then gets the whole file.
  const conditional = request.get("If-Range");
  const ranges = conditional === undefined || conditional === etag ? request.range(total) : undefined;
  if (ranges === -1) {
    response.set("Content-Range", `bytes */${total}`);
    throw problem("range_not_satisfiable", `the file has ${total} bytes`);
  }
  return Array.isArray(ranges) && ranges.type === "bytes" && ranges.length === 1 ? ranges[0] : undefined;
}

/** The bytes of the span, both ends included: of the object, or of its other first bytes and what follows them. */
async function open(store: ObjectStore, { key, front }: SentObject, { start, end }: Span): Promise<Readable> {
  if (!front) return store.get(key, end < start ? undefined : { range: { first: start, last: end } });
  const { head, skip } = front;
  const begin = head.subarray(start, end + 1);
  const shift = skip - head.length;
  // Opened here, so that a failure is answered as one.
  const rest =
    end < head.length
      ? undefined
      : await store.get(key, { range: { first: Math.max(start, head.length) + shift, last: end + shift } });
  return Readable.from(
    (async function* () {
      if (begin.length > 0) yield begin;
      if (rest) yield* rest;
    })(),
    { objectMode: false },
  );
}
