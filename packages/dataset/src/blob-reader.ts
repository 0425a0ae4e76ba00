/**
 * Image bytes by digest, from memory or from the store.
 *
 * A digest is absent, being read (callers share the read) or cached. Invariant: the cached bytes never exceed
 * `memoryBytes`; the least recently used ones leave first. What is larger than a quarter of it is not cached, so that
 * one large file does not push out all the small ones. Failed reads are not remembered.
 */
import { CardinalError, problem } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";

/**
 * Makes a reader of blobs. It throws `image_not_found` when the store has no such blob, `digest_mismatch` when the
 * bytes are not those of the digest, and the store's own errors.
 */
export function blobReader(store: ObjectStore, options: { memoryBytes: number }): (sha256: string) => Promise<Buffer> {
  const cached = new Map<string, Buffer>(); // in order of use, the oldest first
  const reading = new Map<string, Promise<Buffer>>();
  let cachedBytes = 0;

  const keep = (sha256: string, bytes: Buffer) => {
    if (bytes.length > options.memoryBytes / 4) return;
    cached.set(sha256, bytes);
    cachedBytes += bytes.length;
    for (const [oldest, { length }] of cached) {
      if (cachedBytes <= options.memoryBytes) break;
      cached.delete(oldest);
      cachedBytes -= length;
    }
  };

  const read = async (sha256: string) => {
    try {
      const bytes = await store.read(layout.blob(sha256), { sha256 });
      keep(sha256, bytes);
      return bytes;
    } catch (error) {
      if (!(error instanceof CardinalError) || error.code !== "object_not_found") throw error;
      throw problem("image_not_found", `the store has no image with the digest ${sha256}`, { sha256 }, error);
    } finally {
      reading.delete(sha256);
    }
  };

  return (sha256) => {
    const hit = cached.get(sha256);
    if (hit) {
      cached.delete(sha256);
      cached.set(sha256, hit);
      return Promise.resolve(hit);
    }
    let shared = reading.get(sha256);
    if (!shared) {
      shared = read(sha256);
      reading.set(sha256, shared);
    }
    return shared;
  };
}
