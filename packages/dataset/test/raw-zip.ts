import { crc32, deflateRawSync } from "node:zlib";

export interface RawZipEntry {
  /** A string is written as UTF-8 with its flag; bytes are written as they are, without the flag. */
  name: string | Uint8Array;
  data?: Uint8Array;
  deflate?: boolean;
  /** Unix mode for the upper half of the external attributes, such as 0o120777 for a symbolic link. */
  mode?: number;
  /** What the headers claim, where that is not the truth. */
  flags?: number;
  method?: number;
  bytes?: number;
  compressedBytes?: number;
  crc?: number;
}

/** A zip byte by byte, for the archives that no honest tool writes. A name that ends with `/` is a folder. */
export function rawZip(entries: RawZipEntry[], options: { declaredEntries?: number } = {}): Buffer {
  const files: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const entry of entries) {
    const name = Buffer.from(entry.name);
    const data = Buffer.from(entry.data ?? []);
    const packed = entry.deflate ? deflateRawSync(data) : data;
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(entry.flags ?? (typeof entry.name === "string" ? 0x800 : 0), 2);
    common.writeUInt16LE(entry.method ?? (entry.deflate ? 8 : 0), 4);
    common.writeUInt32LE(entry.crc ?? crc32(data), 10);
    common.writeUInt32LE(entry.compressedBytes ?? packed.length, 14);
    common.writeUInt32LE(entry.bytes ?? data.length, 18);
    common.writeUInt16LE(name.length, 22);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(((entry.mode ?? 0o100644) << 16) >>> 0, 6);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.from("PK\x01\x02\x14\x03", "latin1"), common, tail, name);
    const file = Buffer.concat([Buffer.from("PK\x03\x04"), common, name, packed]);
    files.push(file);
    offset += file.length;
  }
  const listing = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0, "latin1");
  end.writeUInt16LE((options.declaredEntries ?? entries.length) & 0xffff, 8);
  end.writeUInt16LE((options.declaredEntries ?? entries.length) & 0xffff, 10);
  end.writeUInt32LE(listing.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...files, listing, end]);
}
