/**
 * Models on the local disk, shared by all processes of the machine.
 *
 * Layout of the folder: `<sha256>.onnx` is a whole, verified file named by its content; `<sha256>.onnx.lock` says that a
 * process is fetching it; `<sha256>.onnx.<random>.part` is a fetch under way.
 *
 * Invariants:
 * - A file appears under its final name by rename, after its digest was checked. Readers never see a part of it.
 * - The lock only saves work. When its holder dies it grows old and the next process fetches; two fetches at once do
 *   no harm, both rename the same bytes.
 * - A file's modification time is its last use. Eviction removes the longest unused; a process that has loaded the file
 *   does not need it any more, and one that is about to load it fetches it again.
 */
import { randomUUID } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { readModel } from "@cardinal/checkpoint";
import { type ModelManifest, problem } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import { DigestCheck, fileDigest } from "./digest.ts";

/** A fetch touches its lock this often; a lock four times as old has no owner any more. */
const LOCK_TOUCH_MS = 2_500;
const LOCK_STALE_MS = 4 * LOCK_TOUCH_MS;
const LOCK_POLL_MS = 100;

export interface ModelCacheOptions {
  store: ObjectStore;
  /** Folder of the cache; made when it is missing. */
  dir: string;
  /** Files are evicted above this sum. The file just fetched stays, even when it alone is larger. */
  maxBytes: number;
}

/** An .onnx file in the store. */
export interface NetworkFile {
  key: string;
  sha256: string;
}

export interface CachedModel {
  id: string;
  manifest: ModelManifest;
  /** The verified `model.onnx`. Load it at once: another process may evict it later. */
  onnxPath: string;
}

export class ModelCache {
  readonly #store: ObjectStore;
  readonly #dir: string;
  readonly #maxBytes: number;

  constructor(options: ModelCacheOptions) {
    this.#store = options.store;
    this.#dir = options.dir;
    this.#maxBytes = options.maxBytes;
  }

  /**
   * A model (id or alias) with its network as a local file whose digest was just checked: a file that was damaged on
   * the disk is fetched anew. Throws `model_not_found`, `model_corrupt` when the store's bytes are not those of the
   * manifest, and the store's errors.
   */
  async get(reference: string): Promise<CachedModel> {
    const { id, manifest } = await readModel(this.#store, reference);
    const { sha256 } = manifest.files["model.onnx"];
    return { id, manifest, onnxPath: await this.file({ key: layout.modelFile(id, "model.onnx"), sha256 }) };
  }

  /**
   * A network as a local file whose digest was just checked; its path. Throws `model_corrupt` when the store's bytes
   * have another digest, and the store's errors.
   */
  async file(network: NetworkFile): Promise<string> {
    const path = join(this.#dir, `${network.sha256}.onnx`);
    await mkdir(this.#dir, { recursive: true });
    if (!(await this.#isSound(path, network.sha256))) await this.#fetchOnce(network, path);
    return path;
  }

  /** Whether the file is there and whole; marks it as used. */
  async #isSound(path: string, sha256: string): Promise<boolean> {
    const found = await fileDigest(path);
    if (found === undefined) return false;
    if (found !== sha256) {
      await rm(path, { force: true });
      return false;
    }
    const now = new Date();
    // Evicted since it was read: then it has to be fetched.
    return await utimes(path, now, now).then(
      () => true,
      () => false,
    );
  }

  /** Fetches under the lock, or waits until the process that has the lock is done. */
  async #fetchOnce(network: NetworkFile, path: string): Promise<void> {
    const lock = `${path}.lock`;
    for (;;) {
      const mine = await takeLock(lock);
      if (mine) {
        try {
          if (await this.#isSound(path, network.sha256)) return;
          return await this.#fetch(network, path);
        } finally {
          clearInterval(mine);
          await rm(lock, { force: true });
        }
      }
      await sleep(LOCK_POLL_MS);
      const held = await stat(lock).catch(() => undefined);
      if (held && Date.now() - held.mtimeMs > LOCK_STALE_MS) await rm(lock, { force: true });
      if (!held && (await this.#isSound(path, network.sha256))) return;
    }
  }

  async #fetch({ key, sha256 }: NetworkFile, path: string): Promise<void> {
    const part = `${path}.${randomUUID()}.part`;
    try {
      const check = new DigestCheck();
      const source = await this.#store.get(key);
      await pipeline(source, check, createWriteStream(part, { flags: "wx" }));
      if (check.sha256 !== sha256) {
        const message = `${key} has digest ${check.sha256}, its manifest says ${sha256}`;
        throw problem("model_corrupt", message, { key });
      }
      await rename(part, path);
    } finally {
      await rm(part, { force: true });
    }
    await this.#evict(path);
  }

  /** Removes the longest unused files until the rest fits, and what fetches of dead processes have left. */
  async #evict(keep: string): Promise<void> {
    const files: { path: string; bytes: number; usedAt: number }[] = [];
    for (const name of await readdir(this.#dir)) {
      const path = join(this.#dir, name);
      const info = await stat(path).catch(() => undefined);
      if (!info) continue;
      if (name.endsWith(".onnx")) files.push({ path, bytes: info.size, usedAt: info.mtimeMs });
      else if (name.endsWith(".part") && Date.now() - info.mtimeMs > LOCK_STALE_MS) await rm(path, { force: true });
    }
    files.sort((a, b) => a.usedAt - b.usedAt);
    let total = files.reduce((sum, file) => sum + file.bytes, 0);
    for (const file of files) {
      if (total <= this.#maxBytes) return;
      if (file.path === keep) continue;
      await rm(file.path, { force: true });
      total -= file.bytes;
    }
  }
}

/** Creates the lock and keeps it fresh by a timer, which is given; undefined when another process has it. */
async function takeLock(path: string): Promise<NodeJS.Timeout | undefined> {
  try {
    await (await open(path, "wx")).close();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return undefined;
    throw error;
  }
  const touch = () => utimes(path, new Date(), new Date()).catch(() => {});
  return setInterval(touch, LOCK_TOUCH_MS).unref();
}
