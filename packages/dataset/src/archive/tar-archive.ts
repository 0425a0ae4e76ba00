/**
 * A tar file, packed by gzip or not, as a list of entries whose bytes are read one at a time.
 *
 * A tar has no directory, and what is packed cannot be read at any place: opening unpacks the files once, one after the
 * other, to a file beside the archive, and remembers where each lies. Every bound holds while that is done: an archive
 * that unpacks to too much is refused as soon as it has, so it costs no more disk than the bound.
 */
import { createReadStream } from "node:fs";
import { type FileHandle, open, rm, stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { crc32, createGunzip } from "node:zlib";
import { CardinalError, problem } from "@cardinal/contracts";
import { type Extract, extract, type Header } from "tar-stream";
import {
  type Archive,
  type ArchiveEntry,
  type ArchiveLimits,
  assertRatio,
  invalid,
  nameTwice,
  type OpenOptions,
  shownEntry,
  tooLarge,
  tooManyEntries,
} from "./archive.ts";
import { safePath, unsafe } from "./entry-path.ts";
import { readAt } from "./file-reader.ts";

type Entry = Extract extends AsyncIterable<infer E> ? E : never;

interface TarEntry extends ArchiveEntry {
  /** Where its bytes begin in the unpacked file. */
  offset: number;
  /** Of what was unpacked, to be sure that the disk gives it back. */
  crc32: number;
}

export interface TarOptions extends OpenOptions {
  gzip: boolean;
}

/** Throws `invalid_archive`, `unsafe_archive_entry` or `archive_too_large`; nothing is left on the disk then. */
export async function openTar(path: string, options: TarOptions): Promise<Archive> {
  const unpackedPath = `${path}.unpacked`;
  const file = await open(unpackedPath, "w+");
  const close = async () => {
    await file.close();
    await rm(unpackedPath, { force: true });
  };
  try {
    const entries = await unpackAll(path, file, options);
    return { entries, read: (entry) => readEntry(file, entry as TarEntry), [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function unpackAll(path: string, file: FileHandle, options: TarOptions): Promise<TarEntry[]> {
  const packed = (await stat(path)).size;
  const source = createReadStream(path);
  if (options.onRead) source.on("data", (chunk) => options.onRead?.(chunk.length));
  const tar = extract();
  const flow = options.gzip
    ? pipeline(source, createGunzip(), tar, { signal: options.signal })
    : pipeline(source, tar, { signal: options.signal });
  const unpacker = new Unpacker(file, packed, options.limits);
  try {
    // Whatever ends one of them ends the other: a refusal destroys `tar`, a broken source too.
    await Promise.all([flow, unpacker.takeAll(tar)]);
  } catch (error) {
    tar.destroy();
    await flow.catch(() => {});
    options.signal?.throwIfAborted();
    throw unpacker.refusal ?? (error instanceof CardinalError ? error : invalid(error));
  }
  return unpacker.entries;
}

class Unpacker {
  readonly entries: TarEntry[] = [];
  /** Why the archive is not taken. */
  refusal: CardinalError | undefined;
  readonly #file: FileHandle;
  readonly #packed: number;
  readonly #limits: ArchiveLimits;
  readonly #byPath = new Map<string, TarEntry>();
  #seen = 0;
  #end = 0;

  constructor(file: FileHandle, packed: number, limits: ArchiveLimits) {
    this.#file = file;
    this.#packed = packed;
    this.#limits = limits;
  }

  async takeAll(tar: Extract): Promise<void> {
    try {
      for await (const entry of tar) {
        this.#seen++;
        if (this.#seen >= this.#limits.entries) throw tooManyEntries(this.#seen, this.#limits.entries);
        await this.#take(entry);
        entry.resume();
      }
    } catch (error) {
      if (error instanceof CardinalError) this.refusal = error;
      throw error;
    }
  }

  async #take(entry: Entry): Promise<void> {
    const { name, type } = entry.header;
    const path = safePath(name.replaceAll("\\", "/"));
    assertPlainType(entry.header);
    if (path === "") return;
    if (type === "directory") {
      this.entries.push({ path, folder: true, bytes: 0, offset: 0, crc32: 0 });
      return;
    }
    const found = type === "link" ? this.#linked(entry.header) : await this.#unpack(entry, path);
    if (this.#byPath.has(path)) throw nameTwice(path);
    const taken = { ...found, path };
    this.#byPath.set(path, taken);
    this.entries.push(taken);
  }

  /** A hard link: tar writes the second name of a file that way. */
  #linked({ name, linkname }: Header): TarEntry {
    const found = this.#byPath.get(safePath(linkname.replaceAll("\\", "/")));
    if (found) return found;
    throw problem("invalid_archive", `${shownEntry(name)} is a link to ${linkname}, which does not come before it`);
  }

  async #unpack(entry: Entry, path: string): Promise<TarEntry> {
    const bytes = entry.header.size;
    const total = this.#end + bytes;
    if (total > this.#limits.unpackedBytes) throw tooLarge("the archive", total, this.#limits.unpackedBytes);
    assertRatio("the archive", total, this.#packed, this.#limits);
    const offset = this.#end;
    let sum = 0;
    for await (const chunk of entry as AsyncIterable<Buffer>) {
      await this.#file.write(chunk, 0, chunk.length, this.#end);
      this.#end += chunk.length;
      sum = crc32(chunk, sum);
    }
    if (this.#end - offset !== bytes) throw invalid(new Error("it ends too early"), path);
    return { path, folder: false, bytes, offset, crc32: sum };
  }
}

/** Throws `unsafe_archive_entry` for symbolic links, devices and the like. */
function assertPlainType({ name, type }: Header): void {
  if (["file", "contiguous-file", "directory", "link"].includes(type)) return;
  throw unsafe(name, type === "symlink" ? "is a symbolic link" : "is neither a file nor a folder");
}

async function readEntry(file: FileHandle, { path, bytes, offset, crc32: expected }: TarEntry): Promise<Buffer> {
  const buffer = await readAt(file, offset, bytes);
  if (buffer.length === bytes && crc32(buffer) === expected) return buffer;
  throw problem("internal_error", `${shownEntry(path)} was unpacked, and the disk does not give it back`);
}
