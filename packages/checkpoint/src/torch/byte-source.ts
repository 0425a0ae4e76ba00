/** Random access to a file's bytes that checks every range against the size before anything is allocated for it. */
import type { FileHandle } from "node:fs/promises";
import { invalid } from "./invalid.ts";

export interface ByteSource {
  /** In bytes. */
  readonly size: number;
  /** Fills all of `into` from `position` on. Throws `invalid_checkpoint` when the file ends before that. */
  read(into: Uint8Array, position: number): Promise<void>;
}

/** One read call at most; Node refuses 2 GiB and more. */
const READ_BYTES = 16 * 2 ** 20;

export function bytesSource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    async read(into, position) {
      checkRange(bytes.length, position, into.length);
      into.set(bytes.subarray(position, position + into.length));
    },
  };
}

/** The handle stays the caller's to close. Throws `invalid_checkpoint` for a folder or a device. */
export async function fileSource(handle: FileHandle): Promise<ByteSource> {
  const stat = await handle.stat();
  if (!stat.isFile()) throw invalid("this is a folder or a device, not a file of weights");
  return {
    size: stat.size,
    async read(into, position) {
      checkRange(stat.size, position, into.length);
      let done = 0;
      while (done < into.length) {
        const length = Math.min(READ_BYTES, into.length - done);
        const { bytesRead } = await handle.read(into, done, length, position + done);
        if (bytesRead === 0) throw invalid(`the file became shorter while it was read: it ends at ${position + done}`);
        done += bytesRead;
      }
    },
  };
}

/** A copy of the range. */
export async function readRange(source: ByteSource, position: number, length: number): Promise<Buffer<ArrayBuffer>> {
  checkRange(source.size, position, length);
  // A buffer of its own: a slice of Node's pool would not be aligned to the elements.
  const bytes = Buffer.from(new ArrayBuffer(length));
  await source.read(bytes, position);
  return bytes;
}

function checkRange(size: number, position: number, length: number): void {
  const sane = Number.isSafeInteger(position) && Number.isSafeInteger(length) && position >= 0 && length >= 0;
  if (sane && position + length <= size) return;
  throw invalid(`the file is cut: it has ${size} bytes, ${length} bytes are to stand at ${position}`, { size });
}
