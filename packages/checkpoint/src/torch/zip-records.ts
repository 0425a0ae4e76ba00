/**
 * The part of the zip format (PKWARE APPNOTE 6.3) that torch.save writes: stored records, one disk, zip64 where the
 * 32-bit fields overflow. Compressed or encrypted records are refused: torch cannot read these either.
 */
import type { ByteSource } from "./byte-source.ts";
import { readRange } from "./byte-source.ts";
import { invalid, shown } from "./invalid.ts";

export interface ZipRecord {
  readonly name: string;
  /** Of its local header. */
  readonly headerPosition: number;
  readonly bytes: number;
  /** How its data is kept; only STORED can be read. */
  readonly method: number;
  readonly encrypted: boolean;
  /** 0 where the writer left it out, as `torch.serialization.set_crc32_options(False)` does. */
  readonly crc32: number;
}

const END_SIGNATURE = 0x06054b50;
const END_BYTES = 22;
const END64_SIGNATURE = 0x06064b50;
const END64_BYTES = 56;
const LOCATOR64_SIGNATURE = 0x07064b50;
const LOCATOR64_BYTES = 20;
const ENTRY_SIGNATURE = 0x02014b50;
const ENTRY_BYTES = 46;
const HEADER_SIGNATURE = 0x04034b50;
const HEADER_BYTES = 30;
const MAX_COMMENT_BYTES = 0xffff;
/** Stands in a 32-bit field whose value is in the zip64 extra field. */
const IN_ZIP64 = 0xffffffff;
const ZIP64_EXTRA = 1;
const STORED = 0;
const ENCRYPTED = 1;
/** A ResNeXt-101 has 627 records of about 80 bytes; this bounds the memory of a hostile directory. */
const MAX_DIRECTORY_BYTES = 4 * 2 ** 20;

interface Directory {
  readonly position: number;
  readonly bytes: number;
  readonly entries: number;
}

/** All records by name. Throws `invalid_checkpoint` for a cut or inconsistent archive and repeated names. */
export async function readZipDirectory(source: ByteSource): Promise<Map<string, ZipRecord>> {
  const directory = await findDirectory(source);
  if (directory.bytes > MAX_DIRECTORY_BYTES) {
    throw invalid(`the zip directory has ${directory.bytes} bytes, the limit is ${MAX_DIRECTORY_BYTES}`);
  }
  const bytes = await readRange(source, directory.position, directory.bytes);
  const records = new Map<string, ZipRecord>();
  let at = 0;
  for (let index = 0; index < directory.entries; index++) {
    const { record, end } = readEntry(bytes, at);
    if (records.has(record.name)) throw invalid(`the zip archive has ${shown(record.name)} twice`);
    records.set(record.name, record);
    at = end;
  }
  return records;
}

async function findDirectory(source: ByteSource): Promise<Directory> {
  const tailStart = Math.max(0, source.size - END_BYTES - MAX_COMMENT_BYTES - LOCATOR64_BYTES);
  const tail = await readRange(source, tailStart, source.size - tailStart);
  const end = findEnd(tail);
  const position = tail.readUInt32LE(end + 16);
  const directory = { position, bytes: tail.readUInt32LE(end + 12), entries: tail.readUInt16LE(end + 10) };
  const locator = end - LOCATOR64_BYTES;
  const zip64 = locator >= 0 && tail.readUInt32LE(locator) === LOCATOR64_SIGNATURE;
  return zip64 ? readEnd64(source, safe(tail.readBigUInt64LE(locator + 8))) : directory;
}

/** Where the end record begins: the last signature whose comment ends with the file. */
function findEnd(tail: Buffer): number {
  for (let at = tail.length - END_BYTES; at >= 0; at--) {
    const isEnd = tail.readUInt32LE(at) === END_SIGNATURE;
    if (isEnd && at + END_BYTES + tail.readUInt16LE(at + 20) === tail.length) return at;
  }
  throw invalid("the zip archive is cut: the directory at its end is missing");
}

async function readEnd64(source: ByteSource, position: number): Promise<Directory> {
  const end = await readRange(source, position, END64_BYTES);
  if (end.readUInt32LE(0) !== END64_SIGNATURE) throw invalid("the zip archive's zip64 end record is damaged");
  return {
    position: safe(end.readBigUInt64LE(48)),
    bytes: safe(end.readBigUInt64LE(40)),
    entries: safe(end.readBigUInt64LE(32)),
  };
}

function readEntry(directory: Buffer, at: number): { record: ZipRecord; end: number } {
  const nameStart = at + ENTRY_BYTES;
  if (nameStart > directory.length || directory.readUInt32LE(at) !== ENTRY_SIGNATURE) {
    throw invalid(`the zip directory is damaged at byte ${at} of ${directory.length}`);
  }
  const extraStart = nameStart + directory.readUInt16LE(at + 28);
  const commentStart = extraStart + directory.readUInt16LE(at + 30);
  const end = commentStart + directory.readUInt16LE(at + 32);
  if (end > directory.length) throw invalid(`the zip directory is cut at byte ${at} of ${directory.length}`);
  const name = directory.toString("utf8", nameStart, extraStart);
  const extra = directory.subarray(extraStart, commentStart);
  // The zip64 extra field holds those of these, in this order, that overflow 32 bits; `bytes` are those in the file.
  const wide = zip64Values(name, extra);
  const [unpacked, bytes, headerPosition] = [24, 20, 42].map((field) => {
    const value = directory.readUInt32LE(at + field);
    return value === IN_ZIP64 ? wide.next().value : value;
  }) as [number, number, number];
  const method = directory.readUInt16LE(at + 10);
  const encrypted = (directory.readUInt16LE(at + 8) & ENCRYPTED) !== 0;
  if (method === STORED && bytes !== unpacked) {
    throw invalid(`${shown(name)} in the zip has ${unpacked} bytes and is stored in ${bytes}`);
  }
  return { record: { name, headerPosition, bytes, method, encrypted, crc32: directory.readUInt32LE(at + 16) }, end };
}

function* zip64Values(name: string, extra: Buffer): Generator<number, never> {
  let at = 0;
  while (at + 4 <= extra.length) {
    const end = at + 4 + extra.readUInt16LE(at + 2);
    if (extra.readUInt16LE(at) === ZIP64_EXTRA) {
      for (let value = at + 4; value + 8 <= Math.min(end, extra.length); value += 8) {
        yield safe(extra.readBigUInt64LE(value));
      }
      break;
    }
    at = end;
  }
  throw invalid(`${shown(name)} in the zip lacks its zip64 sizes`);
}

/**
 * Where the record's data begins. Checks its local header and that the data lies within the file.
 * Throws `invalid_checkpoint` for data that is compressed or encrypted.
 */
export async function recordPosition(source: ByteSource, record: ZipRecord): Promise<number> {
  const { name, headerPosition, method } = record;
  if (record.encrypted) throw invalid(`${shown(name)} in the zip is encrypted`);
  if (method !== STORED) {
    throw invalid(`${shown(name)} in the zip is compressed (method ${method}); torch.save stores without compression`);
  }
  const expected = Buffer.from(name, "utf8");
  const header = await readRange(source, headerPosition, HEADER_BYTES + expected.length);
  const sameName = header.readUInt16LE(26) === expected.length && header.subarray(HEADER_BYTES).equals(expected);
  if (header.readUInt32LE(0) !== HEADER_SIGNATURE || !sameName) {
    throw invalid(`the zip archive is damaged: ${shown(name)} does not stand at ${headerPosition}`);
  }
  const position = headerPosition + HEADER_BYTES + expected.length + header.readUInt16LE(28);
  if (position + record.bytes > source.size) {
    const cut = `${shown(name)} has ${record.bytes} bytes at ${position}, the file has ${source.size}`;
    throw invalid(`the zip archive is cut: ${cut}`);
  }
  return position;
}

function safe(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid(`the zip archive claims a size or position of ${value}`);
  return Number(value);
}
