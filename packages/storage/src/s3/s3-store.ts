/**
 * Objects in an S3 bucket. The server makes a put whole or nothing and decides conditional writes; what the client
 * library lacks (timeouts, abort, resumed downloads, honest uploads) is in the files beside this one.
 */
import { randomUUID } from "node:crypto";
import type { Readable } from "node:stream";
import { problem } from "@cardinal/contracts";
import type { S3Config } from "../config.ts";
import { assertFolder, assertKey, assertPrefix } from "../keys.ts";
import type { GetOptions, ObjectInfo, ObjectStore, PutOptions, PutResult } from "../object-store.ts";
import { changed, decodePointer, encodePointer, exists } from "../pointers.ts";
import { assertRange } from "../ranges.ts";
import { collect, Source } from "../sources.ts";
import { Bucket, bareEtag } from "./bucket.ts";
import { download } from "./download.ts";
import { folders, pages } from "./listing.ts";
import { s3Problem, statusOf } from "./problems.ts";
import { withRetries } from "./retries.ts";
import { spool } from "./spool.ts";
import { sweepUploads, upload } from "./upload.ts";

export class S3Store implements ObjectStore {
  readonly description: string;
  readonly #bucket: Bucket;
  readonly #config: S3Config;

  private constructor(config: S3Config) {
    this.#config = config;
    this.#bucket = new Bucket(config);
    this.description = `s3 ${config.bucket} at ${config.endpoint}`;
  }

  /** Throws `store_misconfigured` when there is no such bucket (and `createBucket` is not set) or the keys are wrong. */
  static async open(config: S3Config): Promise<S3Store> {
    const store = new S3Store(config);
    try {
      await store.#s3(undefined, () => store.#openBucket());
    } catch (error) {
      await store.close();
      throw error;
    }
    return store;
  }

  async #openBucket(): Promise<void> {
    const { client, name } = this.#bucket;
    try {
      await this.#bucket.call({ method: "HEAD" });
    } catch (error) {
      if (statusOf(error) !== 404) throw error;
      if (!this.#config.createBucket) {
        throw problem(
          "store_misconfigured",
          `${this.description}: there is no such bucket; make it or set S3_CREATE_BUCKET=true`,
        );
      }
      await withRetries(undefined, () => client.makeBucket(name, this.#config.region)).catch((failure: unknown) => {
        // Another process was faster.
        if (statusOf(failure) !== 409) throw failure;
      });
    }
    // Housekeeping: a server that has no list of uploads, or does not allow it, is a good store all the same.
    await sweepUploads(this.#bucket).catch((error: unknown) => {
      if (![400, 403, 404, 405, 501].includes(statusOf(error) ?? 0)) throw error;
    });
  }

  async put(key: string, from: Uint8Array | Readable, options: PutOptions = {}): Promise<PutResult> {
    const source = new Source(key, from, options);
    try {
      return await this.#s3(key, () => this.#put(key, source, options), options.signal);
    } catch (error) {
      source.discard();
      throw error;
    }
  }

  async #put(key: string, source: Source, { ifAbsent, signal }: PutOptions): Promise<PutResult> {
    assertKey(key);
    if (ifAbsent && (await this.#bucket.stat(key, signal)) !== undefined) throw exists(key);
    await using body = await spool(source, this.#config.tempDir);
    const etag = await upload(this.#bucket, key, body, ifAbsent ? { "if-none-match": "*" } : {}, signal);
    if (etag === undefined) throw exists(key);
    return { key, bytes: body.bytes, sha256: body.sha256, etag };
  }

  async get(key: string, options: GetOptions = {}): Promise<Readable> {
    assertKey(key);
    assertRange(key, options.range);
    const place = { bucket: this.#bucket, store: this.description, key };
    return await this.#s3(key, () => download(place, options), options.signal);
  }

  async read(key: string, { sha256, signal }: { sha256?: string; signal?: AbortSignal } = {}): Promise<Buffer> {
    return await this.#s3(key, async () => collect(key, await this.get(key, { signal }), sha256), signal);
  }

  async stat(key: string): Promise<ObjectInfo | undefined> {
    assertKey(key);
    const found = await this.#s3(key, () => this.#bucket.stat(key));
    if (found === undefined) return undefined;
    const { putId: _, ...info } = found;
    return info;
  }

  async *list(prefix: string, { after }: { after?: string } = {}): AsyncGenerator<ObjectInfo> {
    assertPrefix(prefix);
    if (after !== undefined) assertPrefix(after);
    try {
      for await (const page of pages(this.#bucket, prefix, after)) yield* page.objects;
    } catch (error) {
      throw s3Problem(error, this.description);
    }
  }

  async *listFolders(prefix: string): AsyncGenerator<string> {
    assertFolder(prefix, true);
    try {
      yield* folders(this.#bucket, prefix);
    } catch (error) {
      throw s3Problem(error, this.description);
    }
  }

  async delete(key: string): Promise<void> {
    assertKey(key);
    try {
      await this.#bucket.call({ method: "DELETE", key });
    } catch (error) {
      if (statusOf(error) !== 404) throw s3Problem(error, this.description, key);
    }
  }

  async deletePrefix(prefix: string): Promise<number> {
    assertFolder(prefix, false);
    let count = 0;
    // Each time the first page of what is left: a continuation token is not made for a list that shrinks.
    for (;;) {
      const removed = await this.#s3(undefined, () => this.#removePage(prefix));
      if (removed === 0) return count;
      count += removed;
    }
  }

  async #removePage(prefix: string): Promise<number> {
    const { client, name } = this.#bucket;
    const { value: page } = await pages(this.#bucket, prefix).next();
    const keys = (page?.objects ?? []).map(({ key }: ObjectInfo) => key);
    if (keys.length === 0) return 0;
    const answers = await withRetries(undefined, () => client.removeObjects(name, keys));
    const refused = answers.find((answer) => answer !== null && answer !== undefined && "Error" in answer);
    if (refused === undefined) return keys.length;
    throw problem("store_unavailable", `${this.description}: ${JSON.stringify(refused)}`, { prefix });
  }

  async readPointer(key: string): Promise<{ value: unknown; etag: string } | undefined> {
    assertKey(key);
    return await this.#s3(key, async () => {
      try {
        const { headers, body } = await this.#bucket.call({ method: "GET", key });
        return { value: decodePointer(key, body), etag: bareEtag(headers.etag) };
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw error;
      }
    });
  }

  async swapPointer(key: string, expected: string | undefined, value: unknown): Promise<string> {
    assertKey(key);
    const source = new Source(key, encodePointer(key, value), {});
    return await this.#s3(key, async () => {
      await using body = await spool(source, this.#config.tempDir);
      const condition = expected === undefined ? { "if-none-match": "*" as const } : { "if-match": `"${expected}"` };
      const etag = await upload(this.#bucket, key, body, condition);
      if (etag === undefined) throw changed(key);
      return etag;
    });
  }

  async check(): Promise<void> {
    const key = `checks/${randomUUID()}`;
    const { sha256 } = await this.put(key, Buffer.from(key));
    await this.read(key, { sha256 });
    await this.delete(key);
  }

  async close(): Promise<void> {
    this.#bucket.transport.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #s3<T>(key: string | undefined, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw signal?.aborted ? signal.reason : s3Problem(error, this.description, key);
    }
  }
}
