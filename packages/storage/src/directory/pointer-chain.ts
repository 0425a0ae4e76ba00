/**
 * Compare and swap on files, between processes, without a lock that a killed process could leave behind.
 *
 * The versions of a pointer form a chain. The successor of the version with etag E is the file `<chain>/E`, made by
 * link(), which fails where there is a file: of all writers that saw E one wins. That link is the commit. Then the
 * version is published: the object's own file is renamed to it, for everyone who reads the pointer as an object.
 *
 * | the writer dies or sleeps | what others find |
 * | --- | --- |
 * | before the link | nothing has changed; the temp file is swept |
 * | between link and rename | the new version: who reads or swaps the pointer follows the chain and publishes it |
 * | before the rename, for long | its late rename brings back an old version; from there the chain leads to the newest |
 *
 * Invariants: a version has at most one successor; the newest version is the one without; from every version that was
 * ever published the chain leads to the newest. Etags hold the inode number, which cannot be used again while a link
 * to the version is in the chain; `hold` adds one for a version that came from a plain `put`.
 * A swap removes links that are a day old: a writer that slept that long between two system calls is not provided for.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { errno, ifPresent } from "../file-problems.ts";
import { changed, decodePointer, encodePointer } from "../pointers.ts";
import { objectPath } from "./paths.ts";
import { type Place, pruneEmpty } from "./place.ts";
import type { TempFiles } from "./temp-files.ts";
import { lookAt } from "./walk.ts";

const KEEP_MS = 24 * 3600 * 1000;
/** Stands for the etag of "there is none". */
const NONE = "none";

interface Version {
  file: string;
  etag: string;
  /** Names of the file. A version that only the object's name holds could lose its inode number to another file. */
  links: bigint;
}

export interface Places {
  objects: string;
  pointers: string;
  temp: TempFiles;
  place: Place;
}

export class PointerChain {
  readonly #key: string;
  readonly #places: Places;
  readonly #object: string;
  readonly #chain: string;

  constructor(key: string, places: Places) {
    this.#key = key;
    this.#places = places;
    this.#object = path.join(places.objects, objectPath(key));
    this.#chain = path.join(places.pointers, `${objectPath(key)}@`);
  }

  async read(): Promise<{ value: unknown; etag: string } | undefined> {
    for (;;) {
      const newest = await this.#publishNewest();
      if (newest === undefined) return undefined;
      const text = await this.#contentOf(newest);
      if (text !== undefined) return { value: decodePointer(this.#key, text), etag: newest.etag };
    }
  }

  async swap(expected: string | undefined, value: unknown): Promise<string> {
    const text = encodePointer(this.#key, value);
    const newest = await this.#publishNewest();
    if (newest?.etag !== expected) throw changed(this.#key);
    const { file, seen: etag } = await this.#places.temp.write(text, async (handle) => {
      return lookAt(await handle.stat({ bigint: true })).etag;
    });
    try {
      if (newest?.links === 1n) await this.#hold(newest);
      await this.#places.place(file, path.join(this.#chain, expected ?? NONE), "link");
    } catch (error) {
      throw errno(error) === "EEXIST" ? changed(this.#key) : error;
    } finally {
      await fs.rm(file, { force: true });
    }
    await this.#publishNewest();
    await this.#prune();
    return etag;
  }

  /** Ends the chain, so that no version comes back after the object is removed. */
  async forget(): Promise<void> {
    const away = this.#places.temp.newPath();
    if ((await ifPresent(fs.rename(this.#chain, away).then(() => true))) === undefined) return;
    await fs.rm(away, { recursive: true, force: true });
    await pruneEmpty(path.dirname(this.#chain), this.#places.pointers);
  }

  /** Follows the chain to its end and renames the object to what it finds there, until that holds. */
  async #publishNewest(): Promise<Version | undefined> {
    for (;;) {
      const published = await this.#lookAt(this.#object);
      let newest = published;
      for (;;) {
        const next = await this.#lookAt(path.join(this.#chain, newest?.etag ?? NONE));
        if (next === undefined) break;
        newest = next;
      }
      if (newest?.etag === published?.etag) return newest;
      await this.#publish(newest as Version);
    }
  }

  async #publish(version: Version): Promise<void> {
    const temp = this.#places.temp.newPath();
    if ((await ifPresent(fs.link(version.file, temp).then(() => true))) === undefined) return;
    try {
      await this.#places.place(temp, this.#object, "rename");
    } finally {
      // rename() of two names of one file does nothing and leaves both.
      await fs.rm(temp, { force: true });
    }
  }

  async #hold(version: Version): Promise<void> {
    const link = path.join(this.#chain, `held-${version.etag}`);
    try {
      await this.#places.place(this.#object, link, "link");
    } catch (error) {
      if (errno(error) !== "EEXIST") throw error;
    }
    if ((await this.#lookAt(link))?.etag !== version.etag) throw changed(this.#key);
  }

  async #lookAt(file: string): Promise<Version | undefined> {
    const stat = await ifPresent(fs.lstat(file, { bigint: true }));
    return stat && { file, etag: lookAt(stat).etag, links: stat.nlink };
  }

  /** The version's bytes, or undefined when another version has taken the file's name meanwhile. */
  async #contentOf(version: Version): Promise<Buffer | undefined> {
    const handle = await ifPresent(fs.open(version.file));
    if (handle === undefined) return undefined;
    try {
      if (lookAt(await handle.stat({ bigint: true })).etag !== version.etag) return undefined;
      return await handle.readFile();
    } finally {
      await handle.close();
    }
  }

  async #prune(): Promise<void> {
    for (const name of (await ifPresent(fs.readdir(this.#chain))) ?? []) {
      const file = path.join(this.#chain, name);
      const stat = await ifPresent(fs.lstat(file));
      if (stat !== undefined && Date.now() - stat.ctimeMs > KEEP_MS) await fs.rm(file, { force: true });
    }
  }
}
