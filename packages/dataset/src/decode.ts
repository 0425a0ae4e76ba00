/**
 * Image bytes to 8-bit RGB, as `Image.open(path).convert("RGB")` of Pillow (torchvision's loader) gives them.
 *
 * - Alpha is dropped on the raw pixels, before anything is resized: colours below transparent pixels are kept.
 * - 16 bits become 8 by `>> 8`; grey becomes three equal channels; of an animation the first frame is taken.
 * - Colour profiles are ignored, as Pillow ignores them.
 * - CMYK is converted by Pillow's formula; Adobe's inverted CMYK is set right by libvips when it is read.
 * - EXIF orientation is a policy of the model: `ignore` is what torchvision does.
 * - A file that ends too early is an error, never a picture with a grey rest. JPEG, PNG, GIF and WebP decode to the
 *   same values as with Pillow 13; AVIF differs by its chroma interpolation.
 *
 * Never decodes at a reduced size (JPEG's DCT scaling): the result would differ from Pillow's by many levels.
 */
import { CardinalError, problem } from "@cardinal/contracts";
import sharp from "sharp";
import { type ImageFormat, imageFormat } from "./format.ts";
import { jpegMarkers } from "./jpeg-markers.ts";
import { endsEarly, silentlyEndsEarly } from "./truncation.ts";

// An image is read once, so libvips' cache only holds memory. Callers decode several images at once, one thread each.
sharp.cache(false);
sharp.concurrency(1);

/** 8-bit RGB, interleaved, rows from top to bottom: `data.length` is `width * height * 3`. */
export interface RgbImage {
  width: number;
  height: number;
  data: Uint8Array;
}

export interface ImageHeader {
  format: ImageFormat;
  width: number;
  height: number;
}

/** 50 megapixels: 150 MB of RGB. Larger images are refused at their header, before memory is taken. */
export const MAX_PIXELS = 50_000_000;

export interface DecodeOptions {
  exif: "ignore" | "apply";
  maxPixels?: number;
}

/**
 * Decodes an image. Throws `empty_file`, `not_an_image`, `unsupported_format`, `image_truncated`, `image_too_large`
 * (more than `maxPixels`, default 50 megapixels) or `image_unreadable`.
 */
export async function decodeImage(bytes: Uint8Array, options: DecodeOptions): Promise<RgbImage> {
  return (await decodeWithHeader(bytes, options)).image;
}

/** As `decodeImage`, with what the header says. Width and height of the header are those before any EXIF rotation. */
export async function decodeWithHeader(
  bytes: Uint8Array,
  options: DecodeOptions,
): Promise<{ header: ImageHeader; image: RgbImage }> {
  const header = await readHeader(bytes, options.maxPixels ?? MAX_PIXELS);
  if (silentlyEndsEarly(bytes, header.format)) throw truncated(bytes, header.format);
  const input = sharp(bytes, { ...READ_OPTIONS, autoOrient: options.exif === "apply" });
  const pipeline = header.cmyk ? input.pipelineColourspace("cmyk").toColourspace("cmyk") : input.removeAlpha();
  const { data, info } = await pipeline
    .raw()
    .toBuffer({ resolveWithObject: true })
    .catch((error: Error) => {
      throw refusal(error, bytes, header.format);
    });
  const image = { width: info.width, height: info.height, data: rgb(data, info.channels, header) };
  return { header: { format: header.format, width: header.width, height: header.height }, image };
}

/**
 * Gives the memory of an image's pixels back at once; the image must not be used any more. Left to the garbage
 * collector, the pixels of some 50 photographs have it search the whole heap: 0.5 ms for each of them.
 */
export function releasePixels(image: RgbImage): void {
  const { buffer, byteLength } = image.data;
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

/** Format and size from the header alone; the same errors as `decodeImage`, as far as a header shows them. */
export async function probeImage(bytes: Uint8Array): Promise<ImageHeader> {
  const { format, width, height } = await readHeader(bytes, MAX_PIXELS);
  return { format, width, height };
}

/** `limitInputPixels` is off because `readHeader` has checked by then, with numbers in its message. */
const READ_OPTIONS = { failOn: "truncated", ignoreIcc: true, limitInputPixels: false } as const;

type FullHeader = ImageHeader & { cmyk: boolean };

async function readHeader(bytes: Uint8Array, maxPixels: number): Promise<FullHeader> {
  const format = imageFormat(bytes);
  const header = (format === "jpeg" && jpegHeader(bytes)) || (await askDecoder(bytes, format));
  const { width, height } = header;
  if (width * height > maxPixels) {
    throw problem("image_too_large", `the image has ${width} x ${height} pixels; the limit is ${maxPixels}`, {
      width,
      height,
      maxPixels,
    });
  }
  return header;
}

/** Saves a round through the decoder, a tenth of the time that a photograph takes. Odd frames are left to it. */
function jpegHeader(bytes: Uint8Array): FullHeader | undefined {
  const { frame } = jpegMarkers(bytes);
  if (!frame || frame.width === 0 || frame.height === 0 || ![1, 3, 4].includes(frame.channels)) return undefined;
  return { format: "jpeg", width: frame.width, height: frame.height, cmyk: frame.channels === 4 };
}

async function askDecoder(bytes: Uint8Array, format: ImageFormat): Promise<FullHeader> {
  const { width, height, space } = await sharp(bytes, READ_OPTIONS)
    .metadata()
    .catch((error: Error) => {
      throw refusal(error, bytes, format);
    });
  return { format, width, height, cmyk: space === "cmyk" };
}

function refusal(error: Error, bytes: Uint8Array, format: ImageFormat): CardinalError {
  if (endsEarly(bytes, format, error.message)) return truncated(bytes, format, error);
  const [reason] = error.message.split("\n");
  return problem("image_unreadable", `the ${format} image cannot be decoded: ${reason}`, { format }, error);
}

function truncated(bytes: Uint8Array, format: ImageFormat, cause?: Error): CardinalError {
  return problem(
    "image_truncated",
    `the ${format} image ends too early, after ${bytes.length} bytes`,
    { format },
    cause,
  );
}

function rgb(data: Buffer, channels: number, header: { cmyk: boolean; format: ImageFormat }): Uint8Array {
  if (header.cmyk && channels >= 4) return cmykToRgb(data, channels);
  if (channels === 3) return data;
  throw problem("image_unreadable", `the ${header.format} image has ${channels} channels`, { channels });
}

/** Pillow's conversion: each ink in the part of the light that black leaves, products divided by 255 and rounded. */
function cmykToRgb(data: Uint8Array, channels: number): Uint8Array {
  const pixels = data.length / channels;
  const out = new Uint8Array(pixels * 3);
  for (let i = 0, from = 0, to = 0; i < pixels; i++, from += channels, to += 3) {
    const light = 255 - data[from + 3]!;
    for (let ink = 0; ink < 3; ink++) {
      const product = data[from + ink]! * light + 128;
      out[to + ink] = Math.max(0, light - (((product >> 8) + product) >> 8));
    }
  }
  return out;
}

/** Whether an error is about the image itself, so that only its row fails and not the work on all the others. */
export function isImageError(error: unknown): error is CardinalError {
  return error instanceof CardinalError && IMAGE_CODES.has(error.code);
}

const IMAGE_CODES: ReadonlySet<string> = new Set([
  "empty_file",
  "not_an_image",
  "unsupported_format",
  "image_truncated",
  "image_too_large",
  "image_unreadable",
  "image_not_found",
]);
