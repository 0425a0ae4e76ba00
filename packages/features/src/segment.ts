/**
 * A segment: the features of some images in one object that never changes.
 *
 * Its bytes: the SHA-256 of each of its `count` images, 32 bytes each, then a row of float32 (little endian) for each,
 * in the same order. Its name: `<count>-<SHA-256 of its bytes>.f32`. So the name and the size tell the shape, the
 * first bytes are an index that can be read alone, and whoever reads the whole can check it. The same rows have the
 * same name: doing a piece of work again adds nothing.
 */
import { createHash } from "node:crypto";

const DIGEST_BYTES = 32;
const NAME = /^([1-9]\d{0,8})-([0-9a-f]{64})\.f32$/;

export interface SegmentShape {
  /** Images in it. */
  count: number;
  /** Values of a row. */
  channels: number;
  /** SHA-256 of the whole, hexadecimal. */
  sha256: string;
}

export interface Segment {
  name: string;
  bytes: Uint8Array;
}

/** `rows`: [images, channels], row by row. Throws RangeError when they do not fit or there are none. */
export function encodeSegment(images: readonly string[], rows: Float32Array): Segment {
  const channels = rows.length / images.length;
  if (images.length === 0 || !Number.isInteger(channels) || channels === 0) {
    throw new RangeError(`${rows.length} values are no rows of ${images.length} images`);
  }
  const bytes = new Uint8Array(images.length * DIGEST_BYTES + rows.byteLength);
  images.forEach((image, row) => void bytes.set(Buffer.from(image, "hex"), row * DIGEST_BYTES));
  bytes.set(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength), images.length * DIGEST_BYTES);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return { name: `${images.length}-${sha256}.f32`, bytes };
}

/** The shape of an object by its name and size; undefined when it is no whole segment. */
export function segmentShape(name: string, bytes: number): SegmentShape | undefined {
  const match = NAME.exec(name);
  if (!match) return undefined;
  const count = Number(match[1]);
  const channels = (bytes / count - DIGEST_BYTES) / Float32Array.BYTES_PER_ELEMENT;
  return Number.isInteger(channels) && channels > 0 ? { count, channels, sha256: match[2]! } : undefined;
}

/** Bytes of the index, from the first one on. */
export function indexBytes({ count }: SegmentShape): number {
  return count * DIGEST_BYTES;
}

/** The images of a segment in the order of its rows; `bytes` holds at least the index. */
export function segmentImages(shape: SegmentShape, bytes: Buffer): string[] {
  return Array.from({ length: shape.count }, (_, row) =>
    bytes.toString("hex", row * DIGEST_BYTES, (row + 1) * DIGEST_BYTES),
  );
}

/** All rows of a whole segment: [count, channels]. */
export function segmentRows(shape: SegmentShape, bytes: Buffer): Float32Array {
  const rows = new Float32Array(shape.count * shape.channels);
  new Uint8Array(rows.buffer).set(bytes.subarray(indexBytes(shape)));
  return rows;
}
