/** An object of the store as an answer: whole or a range, with its length, so a client sees when it is cut short. */
import { pipeline } from "node:stream/promises";
import { problem } from "@cardinal/contracts";
import type { ObjectStore } from "@cardinal/storage";
import type { Request, Response } from "express";

export async function sendObject(
  store: ObjectStore,
  key: string,
  request: Request,
  response: Response,
  contentType: string,
): Promise<void> {
  const info = await store.stat(key);
  if (!info) throw problem("not_found", "the file is not there");
  const etag = `"${info.etag.replaceAll('"', "")}"`;
  // A range of a file that has changed since would not fit to what the client has: it then gets the whole file.
  const conditional = request.get("If-Range");
  const ranges = conditional === undefined || conditional === etag ? request.range(info.bytes) : undefined;
  if (ranges === -1) {
    response.set("Content-Range", `bytes */${info.bytes}`);
    throw problem("range_not_satisfiable", `the file has ${info.bytes} bytes`);
  }
  const range = Array.isArray(ranges) && ranges.type === "bytes" && ranges.length === 1 ? ranges[0] : undefined;
  const isEmpty = request.method === "HEAD" || info.bytes === 0;
  // Opened before the headers are set: the answer to a failure must not carry those of the file.
  const body = isEmpty ? undefined : await store.get(key, range && { range: { first: range.start, last: range.end } });
  response.type(contentType).set({ ETag: etag, "Accept-Ranges": "bytes" });
  response.set("Content-Length", String(range ? range.end - range.start + 1 : info.bytes));
  if (range) response.status(206).set("Content-Range", `bytes ${range.start}-${range.end}/${info.bytes}`);
  if (body) await pipeline(body, response);
  else response.end();
}
