/** A model and a data set that nothing is computed from: enough for planning, queueing and stitching. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { layout, type ObjectStore } from "@cardinal/storage";

export const STAND_IN_MODEL = "mdl-stand-in-1";
export const STAND_IN_CLASSES = Array.from({ length: 10 }, (_, index) => `class ${index}`);

export async function putStandInModel(store: ObjectStore): Promise<void> {
  const transform = { resize: 224, crop: 224, mean: [0, 0, 0], std: [1, 1, 1], exif: "ignore" };
  const recipe = {
    architecture: "resnext50_32x4d",
    trainable: "all",
    epochs: 1,
    batchSize: 16,
    optimizer: { name: "adam", learningRate: 1e-4 },
    schedule: { name: "constant" },
    augment: { crop: "center", flip: 0 },
    imageSize: 224,
    transform,
    seed: 0,
  };
  const file = { sha256: "0".repeat(64), bytes: 1 };
  const manifest = {
    format: 1,
    id: STAND_IN_MODEL,
    createdAt: new Date().toISOString(),
    architecture: "resnext50_32x4d",
    classes: STAND_IN_CLASSES,
    transform,
    metrics: { valAccuracy: 1, valLoss: 0, bestEpoch: 1 },
    lineage: { job: "train-x", dataset: { name: "none", version: file.sha256 }, recipe, software: "bench" },
    files: {
      "model.onnx": file,
      "weights.safetensors": file,
      "class_indices.json": file,
      "report.json": file,
    },
  };
  await store.put(layout.modelManifest(STAND_IN_MODEL), Buffer.from(JSON.stringify(manifest)));
}

/** Name of the image at a position of a stand-in data set. */
export const standInImage = (index: number): string => `val/images of all kinds/${index}.jpg`;

/** A data set whose split `val` has so many images, none of which is there. Gives its version. */
export async function putStandInDataset(store: ObjectStore, name: string, images: number): Promise<string> {
  const version = createHash("sha256").update(`${name} ${images}`).digest("hex");
  const row = { split: "val", class: STAND_IN_CLASSES[0], bytes: 50_000, width: 500, height: 375, format: "jpeg" };
  const lines = function* () {
    for (let i = 0; i < images; i++) {
      const sha256 = i.toString(16).padStart(64, "0");
      yield `${JSON.stringify({ path: standInImage(i), ...row, sha256 })}\n`;
    }
  };
  await store.put(layout.splitManifest(name, version, "val"), Readable.from(lines(), { objectMode: false }));
  const none = { count: 0, examples: [] };
  const report = {
    images,
    bytes: images * row.bytes,
    splits: { val: images },
    classes: [],
    junk: none,
    skipped: none,
    duplicates: { ...none, acrossSplits: 0 },
    warnings: [],
    valDrawn: false,
  };
  const dataset = { name, version, createdAt: new Date().toISOString(), classes: STAND_IN_CLASSES, report };
  await store.put(layout.dataset(name, version), Buffer.from(JSON.stringify(dataset)));
  return version;
}
