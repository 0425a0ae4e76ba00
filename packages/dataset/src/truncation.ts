/**
 * Tells a file that ends too early from one that is damaged otherwise, once the decoder has refused it, and finds the
 * two kinds that the decoder does not refuse: libtiff fills missing strips with zeros, and libjpeg stops reading when
 * its last block is complete, so a small JPEG without its end marker passes by luck.
 */
import type { ImageFormat } from "./format.ts";
import { jpegMarkers } from "./jpeg-markers.ts";

/** Whether the file ends too early in a way that the decoder may let pass. */
export function silentlyEndsEarly(bytes: Uint8Array, format: ImageFormat): boolean {
  if (format === "jpeg") return jpegMarkers(bytes).endsEarly;
  return format === "tiff" && tiffEndsEarly(bytes);
}

/** Whether the file ends before the image does. `refusal` is the decoder's message. */
export function endsEarly(bytes: Uint8Array, format: ImageFormat, refusal: string): boolean {
  if (/premature end|unexpected end|end of file|bad seek|too small/i.test(refusal)) return true;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (format === "png") return pngEndsEarly(view);
  if (format === "webp") return view.byteLength < 12 || view.getUint32(4, true) + 8 > view.byteLength;
  if (format === "tiff") return tiffEndsEarly(bytes);
  return false;
}

/** A PNG is a row of chunks (length, type, data, CRC); the last is IEND. */
function pngEndsEarly(view: DataView): boolean {
  let at = 8;
  while (at + 12 <= view.byteLength) {
    if (view.getUint32(at + 4) === 0x49454e44) return false; // "IEND"
    at += 12 + view.getUint32(at);
  }
  return true;
}

const STRIP_OFFSETS = 273;
const STRIP_BYTES = 279;
const TILE_OFFSETS = 324;
const TILE_BYTES = 325;

/** Whether a strip or tile of a classic TIFF's first image lies outside of the file. */
function tiffEndsEarly(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = bytes[0] === 0x49;
  try {
    const directory = view.getUint32(4, little);
    const tags = new Map<number, number[]>();
    for (let i = 0; i < view.getUint16(directory, little); i++) {
      const at = directory + 2 + 12 * i;
      const tag = view.getUint16(at, little);
      if ([STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES].includes(tag)) {
        tags.set(tag, integers(view, at, little));
      }
    }
    const offsets = tags.get(STRIP_OFFSETS) ?? tags.get(TILE_OFFSETS) ?? [];
    const sizes = tags.get(STRIP_BYTES) ?? tags.get(TILE_BYTES) ?? [];
    return offsets.some((offset, i) => offset + (sizes[i] ?? 0) > bytes.length);
  } catch (error) {
    if (error instanceof RangeError) return true; // a directory or a list outside of the file
    throw error;
  }
}

/** The values of a directory entry of type SHORT (3) or LONG (4): inline when they fit in four bytes. */
function integers(view: DataView, entry: number, little: boolean): number[] {
  const bytesEach = view.getUint16(entry + 2, little) === 3 ? 2 : 4;
  const count = view.getUint32(entry + 4, little);
  const at = count * bytesEach <= 4 ? entry + 8 : view.getUint32(entry + 8, little);
  if (at + count * bytesEach > view.byteLength) throw new RangeError("list outside of the file");
  const read = (i: number) =>
    bytesEach === 2 ? view.getUint16(at + 2 * i, little) : view.getUint32(at + 4 * i, little);
  return Array.from({ length: count }, (_, i) => read(i));
}
