/** Brings the weights of an import into a local file. */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Emit, type ImportPayload, problem } from "@cardinal/contracts";
import type { ObjectStore } from "@cardinal/storage";
import { type HttpsOptions, openHttps } from "./https-source.ts";
import { tellBytes } from "./tell-bytes.ts";

/** Larger than any state_dict of these networks (ResNeXt-101 has 356 MB) by far. */
const MAX_BYTES = 8e9;

export interface FetchOptions extends HttpsOptions {
  store: ObjectStore;
  /** The file to write. */
  path: string;
  emit: Emit;
}

export interface FetchedFile {
  sha256: string;
  bytes: number;
}

/** Throws `source_not_allowed`, `source_unavailable`, `body_too_large`, the store's errors and the signal's reason. */
export async function fetchWeights(payload: ImportPayload, options: FetchOptions): Promise<FetchedFile> {
  const { path, emit, signal } = options;
  const { body, total } = await open(payload, options);
  const hash = createHash("sha256");
  const told = tellBytes(emit, total);
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
  try {
    await pipeline(body, count, createWriteStream(path), { signal });
  } catch (error) {
    signal.throwIfAborted(); // an abort comes as an AggregateError
    throw error;
  }
  return { sha256: hash.digest("hex"), bytes };
}

async function open({ file, url }: ImportPayload, options: FetchOptions) {
  const { store, signal } = options;
  if (file !== undefined) {
    const total = (await store.stat(file))?.bytes ?? 0;
    return { total, body: await store.get(file, { signal }) };
  }
  if (url !== undefined) return openHttps(url, options);
  throw problem("internal_error", "the import names no weights");
}
