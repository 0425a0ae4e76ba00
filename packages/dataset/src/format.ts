/**
 * Which format a file has, told by its first bytes and never by its name.
 *
 * The list of formats that are decoded is closed: whatever else the decoder could open (SVG renders text and fetches
 * fonts, PDF, …) is refused before it gets there.
 */
import { type ManifestRow, problem } from "@cardinal/contracts";

export type ImageFormat = ManifestRow["format"];

/** Formats that people do send and that are not decoded, so that the message can name them. */
const UNSUPPORTED: readonly (readonly [name: string, magic: string])[] = [
  ["BMP", "BM"],
  ["PSD", "8BPS"],
  ["ICO", "\0\0\x01\0"],
  ["JPEG XL", "\xff\x0a"],
  ["JPEG XL", "\0\0\0\x0cJXL "],
  ["JPEG 2000", "\0\0\0\x0cjP  "],
  ["JPEG 2000", "\xff\x4f\xff\x51"],
  ["BigTIFF", "II\x2b\0"],
  ["BigTIFF", "MM\0\x2b"],
  ["PDF", "%PDF-"],
  ["FITS", "SIMPLE  ="],
  ["OpenEXR", "\x76\x2f\x31\x01"],
  ["QOI", "qoif"],
  ["DICOM", `${"\0".repeat(128)}DICM`],
];

/**
 * The format of an image file. Throws `empty_file`, `unsupported_format` (an image, but of a kind that is not decoded)
 * or `not_an_image`.
 */
export function imageFormat(bytes: Uint8Array): ImageFormat {
  if (bytes.length === 0) throw problem("empty_file", "the image has 0 bytes");
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 512)).toString("latin1");
  if (head.startsWith("\xff\xd8\xff")) return "jpeg";
  if (head.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  if (head.startsWith("GIF87a") || head.startsWith("GIF89a")) return "gif";
  if (head.startsWith("RIFF") && head.startsWith("WEBP", 8)) return "webp";
  if (head.startsWith("II\x2a\0") || head.startsWith("MM\0\x2a")) return "tiff";
  if (head.startsWith("ftyp", 4) && brands(head).some((brand) => brand === "avif" || brand === "avis")) return "avif";
  const name = unsupportedName(head);
  if (name !== undefined) {
    throw problem("unsupported_format", `the image is a ${name} file; JPEG, PNG, WebP, GIF, TIFF and AVIF are read`, {
      format: name,
    });
  }
  throw problem("not_an_image", `the ${bytes.length} bytes are not an image: they begin with ${quoted(head)}`);
}

function unsupportedName(head: string): string | undefined {
  const known = UNSUPPORTED.find(([, magic]) => head.startsWith(magic));
  if (known) return known[0];
  if (/^P[1-7]\s/.test(head)) return "PPM";
  if (head.startsWith("ftyp", 4) && brands(head).some((brand) => /^(hei|hev|mif1|msf1)/.test(brand))) return "HEIC";
  // An XML prologue or a comment may stand before the element; HTML pages that embed drawings begin with <html.
  if (/^(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--[\s\S]*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]/i.test(head))
    return "SVG";
  return undefined;
}

/** Major and compatible brands of an ISO media file (`ftyp` box: size, type, major, version, compatible…). */
function brands(head: string): string[] {
  const size = Math.min(Buffer.from(head.slice(0, 4), "latin1").readUInt32BE(0), head.length);
  const found = [head.slice(8, 12)];
  for (let at = 16; at + 4 <= size; at += 4) found.push(head.slice(at, at + 4));
  return found;
}

function quoted(head: string): string {
  return JSON.stringify(head.slice(0, 16).replace(/[^\x20-\x7e]/g, "."));
}
