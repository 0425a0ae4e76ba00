/** Reading what a caller wants stored: sizes and digests are known, and checked, before anything becomes visible. */
import { createHash } from "node:crypto";
import { addAbortSignal, Readable } from "node:stream";
import { CardinalError, problem } from "@cardinal/contracts";
import type { PutOptions } from "./object-store.ts";

export interface Measured {
  bytes: number;
  /** Hexadecimal. */
  sha256: string;
}

/**
 * The bytes to store, read once. Made first thing in a `put`, in the same turn of the event loop: from then on an
 * `error` event of the stream cannot become an uncaught exception, whenever it comes.
 */
export class Source {
  readonly #source: Uint8Array | Readable;
  readonly #key: string;
  readonly #options: PutOptions;
  readonly #hash = createHash("sha256");
  #bytes = 0;

  constructor(key: string, source: Uint8Array | Readable, options: PutOptions) {
    this.#source = source;
    this.#key = key;
    this.#options = options;
    if (source instanceof Readable) source.on("error", () => {});
  }

  /** The chunks, measured as they pass. Throws `upload_failed` when the stream fails, the signal's reason on abort. */
  async *chunks(): AsyncGenerator<Buffer> {
    const { signal } = this.#options;
    signal?.throwIfAborted();
    if (!(this.#source instanceof Readable)) {
      const whole = Buffer.from(this.#source.buffer, this.#source.byteOffset, this.#source.byteLength);
      this.#measure(whole);
      if (whole.length > 0) yield whole;
      return;
    }
    if (this.#source.destroyed || this.#source.readableEnded)
      throw this.#failed(this.#source.errored ?? "it is closed");
    if (signal) addAbortSignal(signal, this.#source);
    const chunks = this.#source[Symbol.asyncIterator]();
    for (;;) {
      const next = await chunks.next().catch((error: unknown) => {
        throw signal?.aborted ? signal.reason : this.#failed(error);
      });
      if (next.done) return;
      const chunk = Buffer.isBuffer(next.value) ? next.value : Buffer.from(next.value);
      this.#measure(chunk);
      yield chunk;
    }
  }

  /** Size and digest of what has passed, once all has. Throws `upload_failed` or `digest_mismatch`. */
  finish(): Measured {
    this.#options.signal?.throwIfAborted();
    const { bytes, sha256 } = this.#options;
    if (bytes !== undefined && bytes !== this.#bytes) throw this.#wrongSize(bytes);
    const digest = this.#hash.digest("hex");
    if (sha256 !== undefined && sha256 !== digest) throw mismatch(this.#key, sha256, digest);
    return { bytes: this.#bytes, sha256: digest };
  }

  /** Lets go of a stream that has not been read to its end. */
  discard(): void {
    if (this.#source instanceof Readable && !this.#source.readableEnded) this.#source.destroy();
  }

  #measure(chunk: Buffer): void {
    this.#bytes += chunk.length;
    const { bytes } = this.#options;
    if (bytes !== undefined && this.#bytes > bytes) throw this.#wrongSize(bytes);
    this.#hash.update(chunk);
  }

  #wrongSize(expected: number): Error {
    const more = this.#bytes > expected ? "more" : `${this.#bytes}`;
    const message = `${this.#key} should have ${expected} bytes; its source gave ${more}`;
    return problem("upload_failed", message, { key: this.#key, expected, bytes: this.#bytes });
  }

  #failed(cause: unknown): Error {
    if (cause instanceof CardinalError) return cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    const message = `the source of ${this.#key} failed after ${this.#bytes} bytes: ${why}`;
    return problem("upload_failed", message, { key: this.#key, bytes: this.#bytes }, cause);
  }
}

export function mismatch(key: string, expected: string, actual: string): Error {
  const message = `${key} should have SHA-256 ${expected}; its bytes have ${actual}`;
  return problem("digest_mismatch", message, { key, expected, actual });
}

/** Collects a stream and checks its digest when one is given (`digest_mismatch`). */
export async function collect(key: string, stream: Readable, sha256: string | undefined): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  const whole = Buffer.concat(chunks);
  if (sha256 !== undefined) {
    const actual = createHash("sha256").update(whole).digest("hex");
    if (actual !== sha256) throw mismatch(key, sha256, actual);
  }
  return whole;
}
