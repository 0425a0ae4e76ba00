/** Where an upload waits until its size and digest are known: in memory when small, else in a temp file. */
import { randomUUID } from "node:crypto";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileProblem } from "../file-problems.ts";
import type { Measured, Source } from "../sources.ts";

/** Up to here a body is kept in memory and sent in one request. */
export const SMALL_BYTES = 8 * 1024 * 1024;

export interface Spooled extends Measured, AsyncDisposable {
  /** The bytes from `start` on: as many as `into` has room for, or as there are. Gives the part of `into` with them. */
  read(into: Buffer, start: number): Promise<Buffer>;
}

/** Reads the source to its end and checks it. Whoever gets the result disposes it, which removes the temp file. */
export async function spool(source: Source, folder = os.tmpdir()): Promise<Spooled> {
  try {
    return await read(source, folder);
  } catch (error) {
    throw fileProblem(error, `temp folder ${folder}`);
  }
}

async function read(source: Source, folder: string): Promise<Spooled> {
  const chunks = source.chunks();
  const held: Buffer[] = [];
  let bytes = 0;
  for (;;) {
    const next = await chunks.next();
    if (next.done) return inMemory(Buffer.concat(held), source.finish());
    held.push(next.value);
    bytes += next.value.length;
    if (bytes > SMALL_BYTES)
      return await inFile(path.join(folder, `cardinal-upload-${randomUUID()}`), held, chunks, source);
  }
}

function inMemory(whole: Buffer, measured: Measured): Spooled {
  return {
    ...measured,
    read: async (into, start) => into.subarray(0, whole.copy(into, 0, start)),
    [Symbol.asyncDispose]: async () => {},
  };
}

async function inFile(file: string, head: Buffer[], rest: AsyncIterable<Buffer>, source: Source): Promise<Spooled> {
  const handle = await fs.open(file, "wx+", 0o600);
  // The name goes at once: whatever becomes of the process, the file ends with it.
  await fs.unlink(file);
  try {
    while (head.length > 0) await handle.appendFile(head.shift() as Buffer);
    for await (const chunk of rest) await handle.appendFile(chunk);
    const measured = source.finish();
    const read = async (into: Buffer, start: number) => {
      const length = Math.min(into.length, measured.bytes - start);
      const { bytesRead } = await handle.read(into, 0, length, start);
      if (bytesRead === length) return into.subarray(0, length);
      throw new Error(`the temp file of an upload has ${bytesRead} bytes of ${length} at ${start}`);
    };
    return { ...measured, read, [Symbol.asyncDispose]: () => handle.close() };
  } catch (error) {
    await handle.close();
    throw error;
  }
}
