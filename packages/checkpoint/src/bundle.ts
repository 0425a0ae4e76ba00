/**
 * The files of a model bundle. A bundle is a folder `models/<id>/`; the model exists when its `manifest.json` does,
 * which is written last and never changed. Ids are made from the job and the attempt, so a late writer of an earlier
 * attempt can never touch the files of a later one.
 */
import type { Readable } from "node:stream";
import {
  CardinalError,
  MODEL_ID_PREFIX,
  type ModelFile,
  type ModelManifest,
  type ModelReport,
  modelFileSchema,
  modelManifestSchema,
  modelReportSchema,
  problem,
} from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import { z } from "zod";

/** The id of the model that this attempt of the job publishes: `mdl-<the job's ULID>-<attempt>`. */
export function modelId(job: string, attempt: number): string {
  return `${modelIdPrefix(job)}${attempt}`;
}

/** What the ids of all attempts of a job begin with. */
export function modelIdPrefix(job: string): string {
  return `${MODEL_ID_PREFIX}${job.slice(job.indexOf("-") + 1)}-`;
}

export interface BundleContent {
  onnx: Uint8Array | Readable;
  safetensors: Uint8Array | Readable;
  /** Class names in index order. */
  classes: readonly string[];
  report: ModelReport;
  /** The page that shows the report. */
  reportHtml?: string;
}

/** Writes a bundle's files, all but the manifest, and gives what the manifest has to say of them. */
export async function writeBundleFiles(
  store: ObjectStore,
  id: string,
  content: BundleContent,
): Promise<ModelManifest["files"]> {
  const report = JSON.stringify(modelReportSchema.parse(content.report));
  const { reportHtml } = content;
  const sources: Partial<Record<ModelFile, Uint8Array | Readable>> = {
    "model.onnx": content.onnx,
    "weights.safetensors": content.safetensors,
    "class_indices.json": Buffer.from(formatClassIndices(content.classes)),
    "report.json": Buffer.from(report),
    ...(reportHtml !== undefined && { "report.html": Buffer.from(reportHtml) }),
  };
  const files: Partial<ModelManifest["files"]> = {};
  for (const file of modelFileSchema.options) {
    const source = sources[file];
    if (!source) continue;
    const { sha256, bytes } = await store.put(layout.modelFile(id, file), source);
    files[file] = { sha256, bytes };
  }
  return files as ModelManifest["files"];
}

/** Files that the manifest names and the store lacks or has in another size. */
export async function missingFiles(store: ObjectStore, manifest: ModelManifest): Promise<ModelFile[]> {
  const missing: ModelFile[] = [];
  for (const [file, { bytes }] of Object.entries(manifest.files) as [ModelFile, { bytes: number }][]) {
    const found = await store.stat(layout.modelFile(manifest.id, file));
    if (found?.bytes !== bytes) missing.push(file);
  }
  return missing;
}

/** Creates the manifest object; one that is there already stays as it is. */
export async function writeManifest(store: ObjectStore, manifest: ModelManifest): Promise<void> {
  const bytes = Buffer.from(JSON.stringify(modelManifestSchema.parse(manifest), null, 2));
  try {
    await store.put(layout.modelManifest(manifest.id), bytes, { ifAbsent: true });
  } catch (error) {
    if (!(error instanceof CardinalError) || error.code !== "object_exists") throw error;
  }
}

/**
 * `class_indices.json` as the common ResNeXt tutorials write and read it: `{"0": "daisy", "1": "dandelion"}`,
 * indented by four.
 */
export function formatClassIndices(classes: readonly string[]): string {
  return JSON.stringify(Object.fromEntries(classes.map((name, index) => [String(index), name])), null, 4);
}

const classIndicesSchema = z.record(z.string(), z.string().min(1));

/** Class names in index order from `class_indices.json`. Throws `invalid_checkpoint` unless the keys are 0..n-1. */
export function parseClassIndices(text: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw problem("invalid_checkpoint", "class_indices.json is not JSON", undefined, cause);
  }
  const indices = classIndicesSchema.safeParse(value);
  if (!indices.success) throw problem("invalid_checkpoint", "class_indices.json is not an object of index: name");
  const names = Object.keys(indices.data).map((_, index) => indices.data[String(index)]);
  const gap = names.indexOf(undefined);
  if (gap >= 0) {
    throw problem("invalid_checkpoint", `class_indices.json has ${names.length} names but none for index ${gap}`);
  }
  return names as string[];
}
