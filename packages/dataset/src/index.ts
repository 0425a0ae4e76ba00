/** Archive to manifest, class index, decoding, torchvision-exact transforms, batches. */
export { ARCHIVE_LIMITS, type ArchiveLimits } from "./archive/archive.ts";
export { type Batch, type BatchEntry, type BatchOptions, batches, timed } from "./batches.ts";
export { blobReader } from "./blob-reader.ts";
export { listDatasets, listVersions, readDataset, readManifest } from "./datasets.ts";
export {
  type DecodeOptions,
  decodeImage,
  type ImageHeader,
  isImageError,
  MAX_PIXELS,
  probeImage,
  type RgbImage,
  releasePixels,
} from "./decode.ts";
export type { ImageFormat } from "./format.ts";
export { type IngestOptions, ingestArchive } from "./ingest/ingest-archive.ts";
export { codePointOrder } from "./order.ts";
export { seededRandom, shuffled } from "./random.ts";
export { normalizeInto, randomResizedCrop, resizeAndCrop, type TensorLayout } from "./transform.ts";
