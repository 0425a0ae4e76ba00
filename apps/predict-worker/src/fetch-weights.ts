/** Brings the weights of an import into a local file. */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";
import { type Emit, type ImportPayload, problem } from "@cardinal/contracts";
import type { ObjectStore } from "@cardinal/storage";
import { tellBytes } from "./tell-bytes.ts";

/** Larger than any state_dict of these networks (ResNeXt-101 has 356 MB) by far. */
const MAX_BYTES = 8e9;
const MAX_REDIRECTS = 3;

export interface FetchedFile {
  sha256: string;
  bytes: number;
}

/** Throws `source_not_allowed`, `source_unavailable`, `body_too_large`, and the store's errors. */
export async function fetchWeights(
  store: ObjectStore,
  { file, url }: ImportPayload,
  allowedHosts: readonly string[],
  path: string,
  { emit, signal }: { emit: Emit; signal: AbortSignal },
): Promise<FetchedFile> {
  if (file === undefined && url === undefined) throw problem("internal_error", "the import names no weights");
  const source = file === undefined ? await download(url!, allowedHosts, signal) : await store.get(file, { signal });
  const hash = createHash("sha256");
  const told = tellBytes(emit);
  let bytes = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      hash.update(chunk);
      told(chunk.length);
      if (bytes > MAX_BYTES) done(problem("body_too_large", `the weights are larger than ${MAX_BYTES / 1e9} GB`));
      else done(null, chunk);
    },
  });
  await pipeline(source, count, createWriteStream(path), { signal });
  return { sha256: hash.digest("hex"), bytes };
}

/** Follows redirects itself: each hop must be https and an allowed host, or an allowed host could point anywhere. */
async function download(address: string, allowedHosts: readonly string[], signal: AbortSignal): Promise<Readable> {
  let url = new URL(address);
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    if (url.protocol !== "https:" || !allowedHosts.includes(url.host)) {
      throw problem("source_not_allowed", `weights may not be fetched from ${url.protocol}//${url.host}`);
    }
    let response: Response;
    try {
      response = await fetch(url, { redirect: "manual", signal });
    } catch (error) {
      signal.throwIfAborted();
      throw problem("source_unavailable", `${url.host} cannot be reached`, undefined, error);
    }
    const location = response.headers.get("location");
    if (response.status >= 300 && response.status < 400 && location !== null) {
      await response.body?.cancel();
      url = new URL(location, url);
      continue;
    }
    if (!response.ok || !response.body) {
      throw problem("source_unavailable", `${url.host} answered ${response.status}`, { status: response.status });
    }
    return Readable.fromWeb(response.body as ReadableStream<Uint8Array>);
  }
  throw problem("source_unavailable", `${address} redirects more than ${MAX_REDIRECTS} times`);
}
