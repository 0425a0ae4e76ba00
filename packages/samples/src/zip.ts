import { createWriteStream } from "node:fs";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { ZipFile } from "yazl";

export interface ZipEntry {
  /** Path inside the archive, `/`-separated. */
  name: string;
  data: Uint8Array | string;
}

/** Every member has this time, so that the same entries give the same bytes. */
const MTIME = new Date("2020-01-01T00:00:00Z");

/** A zip archive in memory; members are stored uncompressed, as images do not shrink. */
export async function zipOf(entries: Iterable<ZipEntry>): Promise<Buffer> {
  const zip = new ZipFile();
  for (const entry of entries) add(zip, entry);
  zip.end();
  return buffer(zip.outputStream);
}

/** The same as a file; entries are taken one by one. */
export async function writeZip(file: string, entries: AsyncIterable<ZipEntry> | Iterable<ZipEntry>): Promise<void> {
  const zip = new ZipFile();
  const written = pipeline(zip.outputStream, createWriteStream(file));
  written.catch(() => undefined); // awaited below, after the entries are in
  for await (const entry of entries) add(zip, entry);
  zip.end();
  await written;
}

function add(zip: ZipFile, { name, data }: ZipEntry): void {
  zip.addBuffer(Buffer.from(data as Uint8Array), name, { mtime: MTIME, compress: false });
}
