/** The bytes of an input: a blob by its digest, or an object of a prefix by its key. */
import { createHash } from "node:crypto";
import { CardinalError, type PredictInput, problem } from "@cardinal/contracts";
import type { ObjectStore } from "@cardinal/storage";

export type Read = (sha256: string) => Promise<Uint8Array>;

/** An object of a prefix may be anything: what is larger than this is no photograph, and would fill the memory. */
const MAX_BYTES = 128 * 2 ** 20;

/**
 * Reads an input and notes its digest. Throws `image_not_found`, `image_too_large` (of a key), and the store's errors.
 */
export async function readInput(
  { store, read, signal }: { store: ObjectStore; read: Read; signal?: AbortSignal },
  input: PredictInput,
  digests: Map<PredictInput, string>,
): Promise<Uint8Array> {
  if ("sha256" in input) {
    digests.set(input, input.sha256);
    return read(input.sha256);
  }
  const { key, bytes: planned } = input;
  if (planned > MAX_BYTES) {
    throw problem("image_too_large", `the object has ${planned} bytes; ${MAX_BYTES} are allowed`, { bytes: planned });
  }
  const bytes = await store.read(key, { signal }).catch((error: unknown) => {
    if (!(error instanceof CardinalError) || error.code !== "object_not_found") throw error;
    throw problem("image_not_found", `the store has no object ${key} any more`, { key }, error);
  });
  digests.set(input, createHash("sha256").update(bytes).digest("hex"));
  return bytes;
}
