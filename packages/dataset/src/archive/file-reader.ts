/**
 * Random access to an archive's file for yauzl, which asks for the directory of a zip in pieces of 46 bytes and a name:
 * small reads are answered from a block that is read ahead.
 */
import { type FileHandle, open } from "node:fs/promises";
import { RandomAccessReader } from "yauzl";

/** Holds about a thousand directory records. */
const BLOCK_BYTES = 128 * 1024;

type ReadCallback = (error: Error | null, bytesRead?: number) => void;

/** The bytes from `start`, fewer when the file ends before. */
export async function readAt(file: FileHandle, start: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, start + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

export class FileReader extends RandomAccessReader {
  readonly size: number;
  readonly #file: FileHandle;
  #block: { start: number; bytes: Buffer } = { start: 0, bytes: Buffer.alloc(0) };

  private constructor(file: FileHandle, size: number) {
    super();
    this.#file = file;
    this.size = size;
  }

  static async open(path: string): Promise<FileReader> {
    const file = await open(path);
    try {
      return new FileReader(file, (await file.stat()).size);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The bytes from `start`, all of them: throws when the file ends before. */
  async bytes(start: number, length: number): Promise<Buffer> {
    const buffer = await readAt(this.#file, start, length);
    if (buffer.length < length) throw new Error(`the file ends at byte ${start + buffer.length}`);
    return buffer;
  }

  override read(buffer: Buffer, offset: number, length: number, position: number, callback: ReadCallback): void {
    this.#fill(buffer, offset, length, position).then(
      (bytesRead) => callback(null, bytesRead),
      (error: Error) => callback(error),
    );
  }

  async #fill(buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    if (length > BLOCK_BYTES) return (await this.#file.read(buffer, offset, length, position)).bytesRead;
    const { start, bytes } = this.#block;
    if (position < start || position + length > start + bytes.length) {
      const block = Buffer.allocUnsafe(BLOCK_BYTES);
      const { bytesRead } = await this.#file.read(block, 0, BLOCK_BYTES, position);
      this.#block = { start: position, bytes: block.subarray(0, bytesRead) };
    }
    const from = position - this.#block.start;
    return this.#block.bytes.copy(buffer, offset, from, from + length);
  }

  override close(callback: (error: Error | null) => void): void {
    this.#file.close().then(() => callback(null), callback);
  }
}
