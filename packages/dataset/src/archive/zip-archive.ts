/**
 * A zip file as a list of entries whose bytes are read one at a time.
 *
 * Nothing is unpacked to disk. Opening reads the directory alone and refuses the whole archive when any entry is unsafe
 * or the declared sizes are out of bounds, so an archive that is refused has cost no more than its directory. An entry
 * can never unpack to more bytes than it declares.
 */
import { promisify } from "node:util";
import { crc32, inflateRaw } from "node:zlib";
import { problem } from "@cardinal/contracts";
import { fromRandomAccessReader, type ZipFile } from "yauzl";
import {
  type Archive,
  type ArchiveEntry,
  type ArchiveLimits,
  assertRatio,
  invalid,
  nameTwice,
  shownEntry,
  tooLarge,
  tooManyEntries,
} from "./archive.ts";
import { assertPlain, entryName, safePath } from "./entry-path.ts";
import { FileReader } from "./file-reader.ts";
import type { RawEntry } from "./yauzl-types.ts";

interface ZipEntry extends ArchiveEntry {
  compressedBytes: number;
  crc32: number;
  deflated: boolean;
  /** Where the local header stands in the file. */
  offset: number;
}

/**
 * Opens a zip file. Throws `invalid_archive` (no zip, damaged, encrypted, split, an unknown compression, a name twice),
 * `unsafe_archive_entry` or `archive_too_large`.
 */
export async function openZip(path: string, limits: ArchiveLimits): Promise<Archive<ZipEntry>> {
  const reader = await FileReader.open(path);
  const closed = new Promise<void>((resolve) => reader.once("close", resolve));
  let zip: ZipFile | undefined;
  const close = async () => {
    if (zip) zip.close();
    else reader.close(() => reader.emit("close"));
    await closed;
  };
  try {
    zip = await openReader(reader);
    const entries = await listEntries(zip, reader, limits);
    const opened = zip;
    return { entries, read: (entry) => readEntry(opened, reader, entry), [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

function openReader(reader: FileReader): Promise<ZipFile> {
  const options = { autoClose: false, lazyEntries: true, decodeStrings: false };
  return new Promise((resolve, reject) => {
    fromRandomAccessReader(reader, reader.size, options, (error, zip) => {
      if (error) reject(invalid(error));
      else resolve(zip);
    });
  });
}

async function listEntries(zip: ZipFile, reader: FileReader, limits: ArchiveLimits): Promise<ZipEntry[]> {
  if (zip.entryCount >= limits.entries) {
    throw tooManyEntries(zip.entryCount, limits.entries);
  }
  const entries: ZipEntry[] = [];
  const names = new Set<string>();
  await new Promise<void>((resolve, reject) => {
    zip.on("error", (error) => reject(invalid(error)));
    zip.on("end", resolve);
    zip.on("entry", (raw: RawEntry) => {
      try {
        const entry = toEntry(raw, limits);
        if (entry.path !== "") entries.push(entry);
        if (!entry.folder && names.size === names.add(entry.path).size) {
          throw nameTwice(entry.path);
        }
        zip.readEntry();
      } catch (error) {
        reject(error);
      }
    });
    zip.readEntry();
  });
  await assertAtEnd(zip, reader);
  const unpacked = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  if (unpacked > limits.unpackedBytes) throw tooLarge("the archive", unpacked, limits.unpackedBytes);
  assertRatio("the archive", unpacked, reader.size, limits);
  return entries;
}

/** Old writers keep the number of entries modulo 65,536: what follows the last one must not be one more. */
async function assertAtEnd(zip: ZipFile, reader: FileReader): Promise<void> {
  const at = Number(zip.readEntryCursor);
  if (at + 4 > reader.size) return;
  const signature = (await reader.bytes(at, 4)).readUInt32LE();
  if (signature === 0x02014b50) throw invalid(new Error(`it declares ${zip.entryCount} entries and has more`));
}

function toEntry(raw: RawEntry, limits: ArchiveLimits): ZipEntry {
  const name = entryName(raw);
  const path = safePath(name);
  assertPlain(name, raw.externalFileAttributes);
  const shown = shownEntry(path);
  if (raw.isEncrypted()) throw problem("invalid_archive", `${shown} is encrypted`);
  if (raw.compressionMethod !== 0 && raw.compressionMethod !== 8) {
    throw problem("invalid_archive", `${shown} is compressed by method ${raw.compressionMethod}; 0 and 8 are read`);
  }
  if (raw.uncompressedSize > limits.unpackedBytes) throw tooLarge(shown, raw.uncompressedSize, limits.unpackedBytes);
  assertRatio(shown, raw.uncompressedSize, raw.compressedSize, limits);
  return {
    path,
    folder: name.endsWith("/") || path === "",
    bytes: raw.uncompressedSize,
    compressedBytes: raw.compressedSize,
    crc32: raw.crc32,
    deflated: raw.compressionMethod === 8,
    offset: raw.relativeOffsetOfLocalHeader,
  };
}

const inflate = promisify(inflateRaw) as (packed: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;

async function readEntry(zip: ZipFile, reader: FileReader, entry: ZipEntry): Promise<Buffer> {
  const start = await dataStart(zip, entry);
  const packed = await reader.bytes(start, entry.compressedBytes).catch((error) => {
    throw invalid(error, entry.path);
  });
  const bytes = entry.deflated ? await unpack(packed, entry) : packed;
  if (bytes.length !== entry.bytes) {
    throw invalid(new Error(`it has ${bytes.length} bytes and declares ${entry.bytes}`), entry.path);
  }
  if (crc32(bytes) !== entry.crc32) throw invalid(new Error("its CRC-32 is wrong"), entry.path);
  return bytes;
}

function dataStart(zip: ZipFile, entry: ZipEntry): Promise<number> {
  const place = { relativeOffsetOfLocalHeader: entry.offset, compressedSize: entry.compressedBytes };
  return new Promise((resolve, reject) => {
    zip.readLocalFileHeader(place, { minimal: true }, (error, header) => {
      if (error) reject(invalid(error, entry.path));
      else resolve(header.fileDataStart);
    });
  });
}

async function unpack(packed: Buffer, entry: ZipEntry): Promise<Buffer> {
  try {
    return await inflate(packed, { maxOutputLength: Math.max(1, entry.bytes) });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_BUFFER_TOO_LARGE") throw invalid(error, entry.path);
    throw problem("archive_too_large", `${shownEntry(entry.path)} unpacks to more than its ${entry.bytes} bytes`);
  }
}
