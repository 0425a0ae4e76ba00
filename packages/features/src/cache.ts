/**
 * The feature cache in the store: `features/<backbone digest>/<view digest>/` holds segments (see segment.ts).
 *
 * Invariants:
 * - A segment is whole or absent (the store's promise), never changes, and has the digest of its bytes in its name:
 *   writers cannot overwrite each other, and a piece of work that is done twice gives one segment, or two that hold
 *   the same images.
 * - Of an image that several segments hold the oldest one counts. So what a job has read once it reads again after a
 *   death, whatever others have added meanwhile.
 * - A segment that is gone or damaged costs work, never a wrong answer: readers throw `features_missing`, and whoever
 *   asked has it extracted again. So anybody may remove segments at any time, see sweep.ts.
 *
 * Cost of a look-up: one listing, and one small read (32 bytes an image) for each segment until all are found.
 */
import { buffer } from "node:stream/consumers";
import { CardinalError, problem } from "@cardinal/contracts";
import { layout, type ObjectStore, orAbsent } from "@cardinal/storage";
import { inBatches } from "./in-batches.ts";
import { encodeSegment, indexBytes, type SegmentShape, segmentImages, segmentRows, segmentShape } from "./segment.ts";

/** Which features: `backboneDigest` and `viewDigest`. */
export interface FeaturePlace {
  backbone: string;
  view: string;
}

export interface FeatureOptions {
  store: ObjectStore;
  place: FeaturePlace;
  signal?: AbortSignal;
}

/** Segments that are read at the same time: of indices all small, of whole ones a few MB each. */
const READS_AT_ONCE = 8;

/** Of the images (digests), those without features: each once, in the order asked for. */
export async function missingFeatures(options: FeatureOptions, images: Iterable<string>): Promise<string[]> {
  const wanted = new Set(images);
  for (const { images: found } of await segmentsWith(options, wanted)) for (const image of found) wanted.delete(image);
  return [...wanted];
}

export interface FeatureRows {
  channels: number;
  /** [images, channels]: the rows of the images asked for, in their order. */
  rows: Float32Array;
}

/**
 * The features of images (digests; one may come more than once). Throws `features_missing` when the cache lacks any;
 * a damaged segment is removed and counts as missing.
 */
export async function readFeatures(options: FeatureOptions, images: readonly string[]): Promise<FeatureRows> {
  const { place } = options;
  const places = new Map<string, number[]>();
  images.forEach((image, row) => {
    const known = places.get(image);
    if (known) known.push(row);
    else places.set(image, [row]);
  });
  const segments = await segmentsWith(options, new Set(places.keys()));
  const channels = segments[0]?.shape.channels ?? 0;
  const rows = new Float32Array(images.length * channels);
  for await (const { shape, bytes } of inBatches(segments, READS_AT_ONCE, (segment) => readSegment(options, segment))) {
    if (shape.channels !== channels) throw missing(place, `rows of ${shape.channels} and of ${channels} values`);
    const values = segmentRows(shape, bytes);
    segmentImages(shape, bytes).forEach((image, from) => {
      for (const to of places.get(image) ?? []) {
        rows.set(values.subarray(from * channels, (from + 1) * channels), to * channels);
      }
      places.delete(image);
    });
  }
  if (places.size === 0) return { channels, rows };
  throw missing(place, `${places.size} of ${images.length} images are not there, such as ${[...places.keys()][0]}`);
}

/**
 * Adds rows, [images, channels], to the cache: one segment. Images are digests, each once. Adding the same again
 * changes nothing. No images: nothing is written.
 */
export async function writeFeatures(
  options: FeatureOptions,
  images: readonly string[],
  rows: Float32Array,
): Promise<void> {
  if (images.length === 0) return;
  const { store, place, signal } = options;
  const { name, bytes } = encodeSegment(images, rows);
  try {
    await store.put(layout.featureSegment(place.backbone, place.view, name), bytes, { ifAbsent: true, signal });
  } catch (error) {
    if (!(error instanceof CardinalError) || error.code !== "object_exists") throw error;
  }
}

interface FoundSegment {
  key: string;
  shape: SegmentShape;
  /** Of those wanted, the images that this segment is to be read for. */
  images: string[];
}

/** The segments that hold wanted images, the oldest first, each with those that no older one holds. */
async function segmentsWith({ store, place, signal }: FeatureOptions, wanted: ReadonlySet<string>) {
  const segments: { key: string; shape: SegmentShape; modifiedAt: number }[] = [];
  const folder = layout.features(place.backbone, place.view);
  for await (const { key, bytes, modifiedAt } of store.list(folder)) {
    const shape = segmentShape(key.slice(folder.length), bytes);
    if (shape) segments.push({ key, shape, modifiedAt: modifiedAt.getTime() });
  }
  segments.sort((a, b) => a.modifiedAt - b.modifiedAt || (a.key < b.key ? -1 : 1));
  const left = new Set(wanted);
  const found: FoundSegment[] = [];
  const readIndex = async ({ key, shape }: (typeof segments)[number]) => {
    signal?.throwIfAborted();
    const range = { first: 0, last: indexBytes(shape) - 1 };
    const index = await orAbsent(store.get(key, { range, signal }).then(buffer));
    return { key, shape, images: index ? segmentImages(shape, index) : [] };
  };
  if (left.size === 0) return found;
  for await (const segment of inBatches(segments, READS_AT_ONCE, readIndex)) {
    const images = segment.images.filter((image) => left.delete(image));
    if (images.length > 0) found.push({ ...segment, images });
    if (left.size === 0) break;
  }
  return found;
}

async function readSegment({ store, place, signal }: FeatureOptions, { key, shape }: FoundSegment) {
  try {
    return { shape, bytes: await store.read(key, { sha256: shape.sha256, signal }) };
  } catch (error) {
    if (!(error instanceof CardinalError)) throw error;
    if (error.code === "object_not_found") throw missing(place, `${key} was removed meanwhile`);
    if (error.code !== "digest_mismatch") throw error;
    await store.delete(key);
    throw missing(place, `${key} was damaged and is removed`);
  }
}

function missing({ backbone, view }: FeaturePlace, why: string): CardinalError {
  return problem("features_missing", `features of backbone ${backbone.slice(0, 12)}: ${why}`, { backbone, view });
}
