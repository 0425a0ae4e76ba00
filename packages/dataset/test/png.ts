import { crc32, deflateSync } from "node:zlib";

/** A PNG byte by byte, for the kinds that encoders refuse to write. Rows are without their filter byte. */
export function png(options: {
  width: number;
  height: number;
  depth: number;
  colourType: number;
  rows?: number[][];
  idat?: Buffer;
  chunks?: Record<string, number[]>;
}): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(options.width, 0);
  header.writeUInt32BE(options.height, 4);
  header[8] = options.depth;
  header[9] = options.colourType;
  const raw = Buffer.concat((options.rows ?? []).map((row) => Buffer.from([0, ...row])));
  return Buffer.concat([
    Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
    chunk("IHDR", header),
    ...Object.entries(options.chunks ?? {}).map(([type, data]) => chunk(type, Buffer.from(data))),
    chunk("IDAT", options.idat ?? deflateSync(raw)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const out = Buffer.alloc(12 + data.length);
  out.writeUInt32BE(data.length, 0);
  out.write(type, 4, "latin1");
  data.copy(out, 8);
  out.writeUInt32BE(crc32(out.subarray(4, 8 + data.length)), 8 + data.length);
  return out;
}
