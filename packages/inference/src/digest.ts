/** SHA-256 of what is on the disk or flows by. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { Transform, type TransformCallback } from "node:stream";
import { pipeline } from "node:stream/promises";

/** Passes bytes on and knows their digest when they have all gone by. */
export class DigestCheck extends Transform {
  readonly #hash = createHash("sha256");
  #sha256 = "";

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#hash.update(chunk);
    done(null, chunk);
  }

  override _flush(done: TransformCallback): void {
    this.#sha256 = this.#hash.digest("hex");
    done();
  }

  /** Hexadecimal; empty until the stream has ended. */
  get sha256(): string {
    return this.#sha256;
  }
}

/** The digest of a file; undefined when there is no such file. */
export async function fileDigest(path: string): Promise<string | undefined> {
  const hash = createHash("sha256");
  try {
    await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  return hash.digest("hex");
}
