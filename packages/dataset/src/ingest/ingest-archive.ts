/**
 * An archive of images to a version of a data set.
 *
 * 1. The archive's directory is read; unsafe, oversized or empty archives are refused by it alone.
 * 2. Reading: every image is unpacked, hashed and decoded in full, so that what cannot be read is known now and not in
 *    the middle of a training. (Decoding costs about 1 ms for a small and 3 ms for a 500 x 375 image and thread.)
 * 3. The classes are checked. Until here nothing is stored, so an archive that is refused leaves nothing behind.
 * 4. Writing: each image is unpacked once more and put as a blob, then the version is published (publish.ts).
 *
 * Memory: `AT_ONCE` images, their pixels, and the list of entries; never the archive.
 */
import { createHash } from "node:crypto";
import { type Emit, type IngestRequest, type IngestResult, type ManifestRow, problem } from "@cardinal/contracts";
import type { ObjectStore } from "@cardinal/storage";
import type { Archive, ArchiveLimits } from "../archive/archive.ts";
import { openArchive } from "../archive/open-archive.ts";
import { decodeWithHeader, isImageError, releasePixels } from "../decode.ts";
import { forEachLimited } from "../limiter.ts";
import { writeManifest } from "../manifest.ts";
import { codePointOrder } from "../order.ts";
import { assertClasses, findLayout, type Layout, type PlacedImage, type Skipped } from "./layout.ts";
import { IngestProgress } from "./progress.ts";
import { publish, putBlob } from "./publish.ts";
import { makeReport } from "./report.ts";
import { drawVal } from "./split.ts";

export interface IngestOptions {
  /** A zip, tar or tar.gz file on this machine; a tar is unpacked beside it. */
  archivePath: string;
  store: ObjectStore;
  request: IngestRequest;
  /** Who brought it in; kept in the version. */
  createdBy?: string;
  emit: Emit;
  signal?: AbortSignal;
  /** Asked once, before the version comes to exist: false ends the ingest with `cancelled`, and no version is made. */
  mayPublish?(): Promise<boolean>;
  limits?: Partial<ArchiveLimits>;
  /** Hears of packed bytes while a tar is unpacked. */
  onRead?(bytes: number): void;
}

/** Images in work at a time: as many as libuv has threads to decode them. */
const AT_ONCE = 4;
/** Blobs on their way to the store at a time; a remote store answers after some milliseconds. */
const PUTS_AT_ONCE = 8;

/** Larger files are not read into memory; no image below the decoder's pixel limit comes near. */
const MAX_IMAGE_BYTES = 256 * 2 ** 20;

/** An image of the archive that can be read. */
interface ReadImage {
  placed: PlacedImage;
  row: ManifestRow;
}

/**
 * Ingests an archive. The same files, name and seed give the same version, whatever their order in the archive; an
 * ingest that died is repaired by the next one. Throws `invalid_archive`, `unsafe_archive_entry`, `archive_too_large`,
 * `no_images`, `empty_class`, `unknown_class_in_val` (nothing is stored then) and the store's errors. Images that
 * cannot be read are left out and reported.
 */
export async function ingestArchive(options: IngestOptions): Promise<IngestResult> {
  const { store, request, emit, signal } = options;
  signal?.throwIfAborted();
  const { limits, onRead } = options;
  await using archive = await openArchive(options.archivePath, { limits, signal, onRead });
  const layout = findLayout(archive.entries, request.labels);
  assertClasses(layout, layout.images, []);
  const progress = new IngestProgress(emit, layout.images.length);
  try {
    const { images, skipped } = await readImages(archive, layout, progress, signal);
    assertClasses(
      layout,
      images.map(({ placed }) => placed),
      skipped,
    );
    const valDrawn = drawMissingVal(layout, images, request);
    const rows = images.map(({ row }) => row);
    const manifest = writeManifest(rows);
    const report = makeReport(layout, rows, skipped, valDrawn);
    await putImages(archive, images, store, progress, signal);
    if (options.mayPublish && !(await options.mayPublish())) throw problem("cancelled", "the ingest was cancelled");
    const { classes } = layout;
    const publication = { manifest, classes, report, createdBy: options.createdBy, signal };
    const created = await publish(store, request.name, publication);
    return { dataset: request.name, version: manifest.version, created, classes, report };
  } finally {
    progress.end();
  }
}

async function readImages(archive: Archive, layout: Layout, progress: IngestProgress, signal?: AbortSignal) {
  const images: ReadImage[] = [];
  const skipped: Skipped[] = [];
  const readOne = async (placed: PlacedImage, index: number) => {
    const started = performance.now();
    try {
      images[index] = { placed, row: await readRow(archive, placed) };
    } catch (error) {
      if (!isImageError(error)) throw error;
      skipped.push({ path: placed.path, ...error.toRecord() });
    }
    progress.read(images[index] !== undefined, (performance.now() - started) / 1000);
  };
  await forEachLimited(layout.images, AT_ONCE, readOne, signal);
  skipped.sort((a, b) => codePointOrder(a.path, b.path));
  return { images: images.filter((image) => image !== undefined), skipped };
}

async function readRow(archive: Archive, { entry, path, split, class: label }: PlacedImage): Promise<ManifestRow> {
  if (entry.bytes > MAX_IMAGE_BYTES) {
    throw problem("image_too_large", `the file has ${entry.bytes} bytes; the limit is ${MAX_IMAGE_BYTES}`);
  }
  const bytes = await archive.read(entry);
  const { header, image } = await decodeWithHeader(bytes, { exif: "ignore" });
  releasePixels(image);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return { path, split, ...(label !== undefined && { class: label }), sha256, bytes: bytes.length, ...header };
}

/** Moves images from train to val when a labelled archive has no val split. Says whether it did. */
function drawMissingVal(layout: Layout, images: readonly ReadImage[], request: IngestRequest): boolean {
  if (layout.kind === "flat" || images.some(({ row }) => row.split === "val")) return false;
  const paths = new Map<string, string[]>(layout.classes.map((name) => [name, []]));
  for (const { row } of images) paths.get(row.class!)!.push(row.path);
  const val = drawVal(paths, request.valFraction, request.seed);
  for (const { row } of images) if (val.has(row.path)) row.split = "val";
  return true;
}

/** Puts each image once, however often it is in the archive. */
async function putImages(
  archive: Archive,
  images: readonly ReadImage[],
  store: ObjectStore,
  progress: IngestProgress,
  signal?: AbortSignal,
): Promise<void> {
  const unique = [...new Map(images.map((image) => [image.row.sha256, image])).values()];
  progress.beginWriting(unique.length);
  const putOne = async ({ placed, row }: ReadImage) => {
    const started = performance.now();
    await putBlob(store, row.sha256, () => archive.read(placed.entry), signal);
    progress.wrote((performance.now() - started) / 1000);
  };
  await forEachLimited(unique, PUTS_AT_ONCE, putOne, signal);
}
