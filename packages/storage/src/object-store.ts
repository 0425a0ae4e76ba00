/**
 * What Cardinal needs of a store. Two implementations (S3 and directory) pass one conformance suite.
 *
 * Keys are `/`-separated, at most 1,024 bytes of UTF-8 (a segment at most 254), without empty, `.` or `..` segments
 * and without control characters and backslashes; others are refused with `invalid_name`. `a` and `a/b` can both be objects.
 * An object is whole or absent: a reader never sees a part of a `put`, however it ends.
 *
 * Calls that are aborted by their signal throw its reason. Any call may throw `store_unavailable`, `store_timeout`,
 * `store_full` or `store_misconfigured`.
 */
import type { Readable } from "node:stream";

export interface ObjectInfo {
  key: string;
  bytes: number;
  /** Changes whenever the object's content changes; opaque. */
  etag: string;
  modifiedAt: Date;
}

export interface PutOptions {
  /** Refuse with `digest_mismatch` unless the bytes have this SHA-256 (hexadecimal). */
  sha256?: string;
  /** Refuse with `upload_failed` unless there are exactly so many bytes. */
  bytes?: number;
  /** Refuse with `object_exists` when there is an object under the key. */
  ifAbsent?: boolean;
  /**
   * Directory store: the object's name may be lost in a power failure until the next `put` of this store without
   * `deferSync`. For many small objects that mean nothing without the one put after them, such as a data set's blobs.
   */
  deferSync?: boolean;
  /** Aborts the put; nothing is stored then. */
  signal?: AbortSignal;
}

export interface PutResult {
  key: string;
  bytes: number;
  sha256: string;
  etag: string;
}

export interface GetOptions {
  /** First byte and last byte, both inclusive, as in HTTP. */
  range?: { first: number; last?: number };
  signal?: AbortSignal;
}

export interface ObjectStore {
  /** `s3` or `directory`, and where: for log lines and the doctor, without secrets. */
  readonly description: string;

  /**
   * Stores bytes or a whole stream. A source that fails or ends early stores nothing and throws `upload_failed`, or
   * the `CardinalError` that it failed with. A stream is the store's from the call on: it is destroyed when the put
   * fails.
   */
  put(key: string, source: Uint8Array | Readable, options?: PutOptions): Promise<PutResult>;

  /**
   * A stream of an object's bytes. Throws `object_not_found`, `range_not_satisfiable`. A download that stalls longer
   * than the store's idle timeout or ends short is resumed where it stopped (bounded), then fails with `store_timeout`
   * or `store_unavailable`.
   */
  get(key: string, options?: GetOptions): Promise<Readable>;

  /** The whole object in memory; `sha256`, when given, is checked (`digest_mismatch`). */
  read(key: string, options?: { sha256?: string; signal?: AbortSignal }): Promise<Buffer>;

  /** The object's metadata, or undefined when there is none. */
  stat(key: string): Promise<ObjectInfo | undefined>;

  /** All objects whose key begins with `prefix`, in the order of their keys' UTF-8 bytes, any number of them. */
  list(prefix: string, options?: { after?: string }): AsyncIterable<ObjectInfo>;

  /**
   * The distinct next path segments below `prefix` (which ends with `/` or is empty), in key order: `datasets/` gives
   * the names of all data sets.
   */
  listFolders(prefix: string): AsyncIterable<string>;

  /** Removes an object; removing what is not there is no error. */
  delete(key: string): Promise<void>;

  /** Removes everything below a prefix, which must end with `/`. Gives the number of objects removed. */
  deletePrefix(prefix: string): Promise<number>;

  /** A small JSON object and the etag to swap it by; undefined when there is none. */
  readPointer(key: string): Promise<{ value: unknown; etag: string } | undefined>;

  /**
   * Compare and swap: replaces a small JSON object only if its etag is still `expected` (`undefined`: only if there is
   * none), atomically against all other swaps, of other processes too. Gives the new etag, never one that there was
   * before; throws `object_changed` when it has changed. A pointer is an object like any other to all other calls.
   */
  swapPointer(key: string, expected: string | undefined, value: unknown): Promise<string>;

  /** Throws unless the store can be read and written now. Writes, reads and removes an object below `checks/`. */
  check(): Promise<void>;

  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
