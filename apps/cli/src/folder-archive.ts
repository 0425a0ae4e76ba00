/** A folder as a zip archive that is written while it is sent: no copy of it on disk or in memory. */
import { readdir, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { Readable } from "node:stream";
import { ZipFile } from "yazl";

export interface FolderArchive {
  stream: ReadableStream<Uint8Array>;
  /** Of the whole archive, known before it is written because nothing is compressed. */
  bytes: number;
  files: number;
}

/** Files and folders in the order of their names; links to files are followed. Throws when the folder has no file. */
export async function archiveOf(folder: string): Promise<FolderArchive> {
  const zip = new ZipFile();
  let files = 0;
  for (const path of await pathsOf(folder)) {
    const name = relative(folder, path).split(sep).join("/");
    const stats = await stat(path);
    if (stats.isDirectory()) {
      // Told, so that a class without images is noticed.
      zip.addEmptyDirectory(name);
    } else if (stats.isFile()) {
      zip.addFile(path, name, { compress: false });
      files++;
    }
  }
  if (files === 0) throw new Error(`${folder} has no files`);
  const { promise, resolve } = Promise.withResolvers<number | bigint>();
  // The types are of version 2, which calls back without the size.
  zip.end({ forceZip64Format: false }, resolve as never);
  const stream = Readable.from(zip.outputStream as NodeJS.ReadableStream & AsyncIterable<Buffer>, {
    objectMode: false,
  });
  zip.on("error", (error) => stream.destroy(error as Error));
  return { stream: Readable.toWeb(stream) as ReadableStream<Uint8Array>, bytes: Number(await promise), files };
}

async function pathsOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.map((entry) => join(entry.parentPath, entry.name)).sort();
}
