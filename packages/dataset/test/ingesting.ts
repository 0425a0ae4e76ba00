import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { ingestRequestSchema, type WorkEvent } from "@cardinal/contracts";
import { type ObjectStore, openStore } from "@cardinal/storage";
import { tempDir } from "@cardinal/testing";
import { type IngestOptions, ingestArchive } from "../src/index.ts";
import { collect } from "./collect.ts";
import { png } from "./png.ts";
import { type RawZipEntry, rawZip } from "./raw-zip.ts";

/** A PNG of 2x2 pixels, another one for each number. */
export function image(number: number): Buffer {
  const row = [number & 255, (number >> 8) & 255, number >> 16, 7, 7, 7];
  return png({ width: 2, height: 2, depth: 8, colourType: 2, rows: [row, row] });
}

export type Files = Record<string, Uint8Array> | RawZipEntry[];

/** Entries of the given files, each an image of its own: `files("a/1.png", "b/2.png")`. */
export function files(...names: string[]): RawZipEntry[] {
  return names.map((name, i) => ({ name, data: name.endsWith("/") ? Buffer.alloc(0) : image(i) }));
}

/** A folder with a directory store, and a way to ingest into it. Removed with all it holds by `await using`. */
export async function workspace() {
  const folder = await tempDir("dataset");
  const store = await openStore({ kind: "directory", path: path.join(folder.path, "store") });
  const events: WorkEvent[] = [];

  const archive = async (content: RawZipEntry[] | Buffer) => {
    const file = path.join(folder.path, `${randomUUID()}.zip`);
    await writeFile(file, Buffer.isBuffer(content) ? content : rawZip(content));
    return file;
  };

  return {
    folder: folder.path,
    store,
    events,
    archive,
    async ingest(content: RawZipEntry[] | Buffer, request: object = {}, more: Partial<IngestOptions> = {}) {
      return await ingestArchive({
        archivePath: await archive(content),
        store,
        request: ingestRequestSchema.parse({ name: "set", ...request }),
        emit: (event) => events.push(event),
        ...more,
      });
    },
    async [Symbol.asyncDispose]() {
      await store.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** The keys of everything in a store. */
export async function keys(store: ObjectStore): Promise<string[]> {
  return (await collect(store.list(""))).map(({ key }) => key);
}
