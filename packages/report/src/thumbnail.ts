/** Small pictures for pages, from the images in the store. */
import { CardinalError, problem, type Thumbnail } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import sharp from "sharp";

/** Longest side in pixels: sharp on a screen of two pixels a point at the 120 points that a page gives it. */
const SIDE = 224;
/** About 6 kB for a photograph. */
const QUALITY = 72;
/** As decoding has it (packages/dataset): what was too large for the network is too large here. */
const MAX_PIXELS = 50_000_000;

/**
 * The picture as a data URI that fits into a square of 224 pixels, never enlarged; turned by EXIF only where the model
 * sees it so. JPEG is decoded at a reduced size, which is 4 to 10 times faster than the whole; nothing is computed from
 * it. Throws `image_unreadable`.
 */
export async function thumbnailOf(bytes: Uint8Array, exif: "ignore" | "apply"): Promise<Thumbnail> {
  try {
    const { data, info } = await sharp(bytes, { autoOrient: exif === "apply", limitInputPixels: MAX_PIXELS })
      .resize(SIDE, SIDE, { fit: "inside", withoutEnlargement: true })
      .toColourspace("srgb")
      .webp({ quality: QUALITY, effort: 2 })
      .toBuffer({ resolveWithObject: true });
    const uri = `data:image/webp;base64,${data.toString("base64")}`;
    return { data: uri, width: info.width, height: info.height };
  } catch (error) {
    throw problem("image_unreadable", `no thumbnail can be made: ${(error as Error).message}`, undefined, error);
  }
}

/**
 * The thumbnail of a stored image; undefined when the store has no such image any more or it cannot be decoded: a page
 * without one picture is better than none. Throws the store's other errors and the signal's reason.
 */
export async function storedThumbnail(
  store: ObjectStore,
  sha256: string,
  exif: "ignore" | "apply",
  signal?: AbortSignal,
): Promise<Thumbnail | undefined> {
  try {
    return await thumbnailOf(await store.read(layout.blob(sha256), { sha256, signal }), exif);
  } catch (error) {
    if (error instanceof CardinalError && WITHOUT_PICTURE.has(error.code)) return undefined;
    throw error;
  }
}

const WITHOUT_PICTURE: ReadonlySet<string> = new Set(["object_not_found", "digest_mismatch", "image_unreadable"]);
