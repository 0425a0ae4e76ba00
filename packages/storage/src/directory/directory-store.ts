/**
 * Objects as files below one folder, for one machine (any number of processes) or a shared file system with POSIX
 * link() and rename().
 *
 *     objects/    the objects, see paths.ts
 *     pointers/   the chains of swapped pointers, see pointer-chain.ts
 *     tmp/        files on their way, see temp-files.ts
 *
 * An object's file is written and synced in tmp/ and then linked (create if absent: link() fails where there is a
 * file) or renamed to its name, so it is whole from its first moment and is never changed in place. A process that
 * dies leaves at most a file in tmp/ and empty folders, which are no objects and hinder nobody.
 */
import { randomUUID } from "node:crypto";
import fs from "node:fs/promises";
import path from "node:path";
import { addAbortSignal, Readable } from "node:stream";
import { problem } from "@cardinal/contracts";
import { errno, fileProblem, ifPresent } from "../file-problems.ts";
import { assertFolder, assertKey, assertPrefix } from "../keys.ts";
import type { GetOptions, ObjectInfo, ObjectStore, PutOptions, PutResult } from "../object-store.ts";
import { exists, notFound } from "../pointers.ts";
import { assertRange, resolveRange } from "../ranges.ts";
import { collect, Source } from "../sources.ts";
import { DirectorySync } from "./directory-sync.ts";
import { folderPath, objectPath } from "./paths.ts";
import { placer, pruneEmpty } from "./place.ts";
import { PointerChain } from "./pointer-chain.ts";
import { TempFiles } from "./temp-files.ts";
import { countObjects, folders, lookAt, walk } from "./walk.ts";

const READ_BYTES = 256 * 1024;

export class DirectoryStore implements ObjectStore {
  readonly description: string;
  readonly #objects: string;
  readonly #pointers: string;
  readonly #temp: TempFiles;
  readonly #sync = new DirectorySync();

  private constructor(root: string, temp: TempFiles) {
    this.description = `directory ${root}`;
    this.#objects = path.join(root, "objects");
    this.#pointers = path.join(root, "pointers");
    this.#temp = temp;
  }

  /** Makes the folder when there is none, and removes what writers that died left in tmp/. */
  static async open(root: string): Promise<DirectoryStore> {
    const folder = path.resolve(root);
    try {
      for (const name of ["objects", "pointers"]) await fs.mkdir(path.join(folder, name), { recursive: true });
      return new DirectoryStore(folder, await TempFiles.open(path.join(folder, "tmp")));
    } catch (error) {
      throw fileProblem(error, `directory ${folder}`);
    }
  }

  async put(key: string, from: Uint8Array | Readable, options: PutOptions = {}): Promise<PutResult> {
    const source = new Source(key, from, options);
    try {
      return await this.#files(() => this.#put(key, source, options));
    } catch (error) {
      source.discard();
      throw error;
    }
  }

  async #put(key: string, source: Source, options: PutOptions): Promise<PutResult> {
    assertKey(key);
    const target = path.join(this.#objects, objectPath(key));
    if (options.ifAbsent && (await ifPresent(fs.lstat(target)))) throw await this.#taken(key, target, options);
    const { file, seen: etag } = await this.#temp.write(source.chunks(), async (handle) => {
      return lookAt(await handle.stat({ bigint: true })).etag;
    });
    try {
      const measured = source.finish();
      await placer(this.#sync, options.deferSync)(file, target, options.ifAbsent ? "link" : "rename");
      return { key, ...measured, etag };
    } catch (error) {
      throw errno(error) === "EEXIST" ? await this.#taken(key, target, options) : error;
    } finally {
      await fs.rm(file, { force: true });
    }
  }

  /** What others have put is as good as put by us for the manifest that follows, so its name must be safe before. */
  async #taken(key: string, target: string, options: PutOptions): Promise<Error> {
    const directory = path.dirname(target);
    if (options.deferSync) this.#sync.later([directory]);
    else await this.#sync.now([directory]);
    return exists(key);
  }

  async get(key: string, { range, signal }: GetOptions = {}): Promise<Readable> {
    assertKey(key);
    assertRange(key, range);
    signal?.throwIfAborted();
    return await this.#files(async () => {
      const handle = await ifPresent(fs.open(path.join(this.#objects, objectPath(key))));
      if (handle === undefined) throw notFound(key);
      try {
        const { size } = await handle.stat();
        const { first: start, last: end } = resolveRange(key, range, size);
        if (size === 0) {
          await handle.close();
          return Readable.from([], { objectMode: false });
        }
        const stream = handle.createReadStream({ start, end, highWaterMark: READ_BYTES });
        return signal ? addAbortSignal(signal, stream) : stream;
      } catch (error) {
        await handle.close();
        throw error;
      }
    });
  }

  async read(key: string, { sha256, signal }: { sha256?: string; signal?: AbortSignal } = {}): Promise<Buffer> {
    try {
      return await collect(key, await this.get(key, { signal }), sha256);
    } catch (error) {
      throw signal?.aborted ? signal.reason : fileProblem(error, this.description);
    }
  }

  async stat(key: string): Promise<ObjectInfo | undefined> {
    assertKey(key);
    const file = path.join(this.#objects, objectPath(key));
    const stat = await this.#files(() => ifPresent(fs.lstat(file, { bigint: true })));
    return stat && { key, ...lookAt(stat) };
  }

  async *list(prefix: string, { after }: { after?: string } = {}): AsyncGenerator<ObjectInfo> {
    assertPrefix(prefix);
    if (after !== undefined) assertPrefix(after);
    yield* this.#filesEach(walk(this.#objects, prefix, after));
  }

  async *listFolders(prefix: string): AsyncGenerator<string> {
    assertFolder(prefix, true);
    yield* this.#filesEach(folders(this.#objects, prefix));
  }

  async delete(key: string): Promise<void> {
    await this.#files(async () => {
      await this.#pointer(key).forget();
      const file = path.join(this.#objects, objectPath(key));
      if ((await ifPresent(fs.unlink(file).then(() => true))) === undefined) return;
      await this.#sync.now([path.dirname(file)]);
      await pruneEmpty(path.dirname(file), this.#objects);
    });
  }

  async deletePrefix(prefix: string): Promise<number> {
    assertFolder(prefix, false);
    return await this.#files(async () => {
      await this.#takeAway(path.join(this.#pointers, folderPath(prefix)));
      return await this.#takeAway(path.join(this.#objects, folderPath(prefix)));
    });
  }

  /** One rename takes a folder out of sight as a whole; then its files are removed. */
  async #takeAway(folder: string): Promise<number> {
    const away = this.#temp.newPath();
    if ((await ifPresent(fs.rename(folder, away).then(() => true))) === undefined) return 0;
    await this.#sync.now([path.dirname(folder)]);
    const count = await countObjects(away);
    await fs.rm(away, { recursive: true, force: true });
    await pruneEmpty(path.dirname(folder), folder.startsWith(this.#objects) ? this.#objects : this.#pointers);
    return count;
  }

  async readPointer(key: string): Promise<{ value: unknown; etag: string } | undefined> {
    return await this.#files(() => this.#pointer(key).read());
  }

  async swapPointer(key: string, expected: string | undefined, value: unknown): Promise<string> {
    return await this.#files(() => this.#pointer(key).swap(expected, value));
  }

  #pointer(key: string): PointerChain {
    assertKey(key);
    const place = placer(this.#sync, false);
    return new PointerChain(key, { objects: this.#objects, pointers: this.#pointers, temp: this.#temp, place });
  }

  async check(): Promise<void> {
    const key = `checks/${randomUUID()}`;
    const { sha256 } = await this.put(key, Buffer.from(key));
    await this.read(key, { sha256 });
    await this.delete(key);
    const { bavail, bsize } = await this.#files(() => fs.statfs(this.#objects));
    if (bavail * bsize === 0) throw problem("store_full", `${this.description} has no space left`);
  }

  /** Makes the names of all deferred puts durable. */
  async close(): Promise<void> {
    await this.#files(() => this.#sync.now());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #files<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw fileProblem(error, this.description);
    }
  }

  async *#filesEach<T>(work: AsyncIterable<T>): AsyncGenerator<T> {
    try {
      yield* work;
    } catch (error) {
      throw fileProblem(error, this.description);
    }
  }
}
