/** Where things lie in the store. No other room builds a key by hand. */
import type { ModelFile, Split } from "@cardinal/contracts";

export const layout = {
  /** Names the installation that the store belongs to. */
  owner: "owner.json",

  blobs: "blobs/",
  /** Image bytes by digest, written once. Two hexadecimal digits spread them over folders. */
  blob: (sha256: string) => `blobs/${sha256.slice(0, 2)}/${sha256}`,

  datasets: "datasets/",
  datasetVersions: (name: string) => `datasets/${name}/`,
  datasetVersion: (name: string, version: string) => `datasets/${name}/${version}/`,
  datasetLatest: (name: string) => `datasets/${name}/latest.json`,
  dataset: (name: string, version: string) => `datasets/${name}/${version}/dataset.json`,
  manifest: (name: string, version: string) => `datasets/${name}/${version}/manifest.jsonl`,
  splitManifest: (name: string, version: string, split: Split) => `datasets/${name}/${version}/${split}.jsonl`,
  classes: (name: string, version: string) => `datasets/${name}/${version}/classes.json`,
  report: (name: string, version: string) => `datasets/${name}/${version}/report.json`,

  models: "models/",
  model: (id: string) => `models/${id}/`,
  modelManifest: (id: string) => `models/${id}/manifest.json`,
  modelFile: (id: string, file: ModelFile) => `models/${id}/${file}`,
  aliases: "aliases/",
  alias: (alias: string) => `aliases/${alias}.json`,

  /** Pointers of what is being removed (removal.ts). */
  removals: "removals/",
  modelRemoval: (id: string) => `removals/models/${id}.json`,
  datasetRemovals: (name: string) => `removals/datasets/${name}/`,
  datasetRemoval: (name: string, version: string) => `removals/datasets/${name}/${version}.json`,
  /** What is still known of a deleted model. */
  deletedModel: (id: string) => `deleted/models/${id}.json`,

  allCheckpoints: "checkpoints/",
  checkpoints: (job: string) => `checkpoints/${job}/`,
  checkpointLatest: (job: string) => `checkpoints/${job}/latest.json`,
  checkpoint: (job: string, attempt: number, step: number, kind: "last" | "best") =>
    `checkpoints/${job}/${attempt}-${String(step).padStart(9, "0")}-${kind}.safetensors`,

  allPredictions: "predictions/",
  predictions: (job: string) => `predictions/${job}/`,
  predictionPlan: (job: string) => `predictions/${job}/plan.json`,
  predictionImages: (job: string) => `predictions/${job}/images.json`,
  allInputs: (job: string) => `predictions/${job}/inputs/`,
  /** Inputs of one planner (`cut`): of several that plan at once, one wins, and its plan names its cut. */
  cutInputs: (job: string, cut: string) => `predictions/${job}/inputs/${cut}/`,
  shardInputs: (job: string, cut: string, shard: number) => `predictions/${job}/inputs/${cut}/${number(shard)}.jsonl`,
  allParts: (job: string) => `predictions/${job}/parts/`,
  part: (job: string, shard: number) => `predictions/${job}/parts/${number(shard)}`,
  /** Parts of a part, while an image that kills the process is looked for. */
  allPieces: (job: string) => `predictions/${job}/pieces/`,
  pieces: (job: string, shard: number) => `predictions/${job}/pieces/${number(shard)}/`,
  piece: (job: string, shard: number, first: number, count: number) =>
    `predictions/${job}/pieces/${number(shard)}/${number(first)}-${number(count)}`,
  rows: (job: string) => `predictions/${job}/rows.jsonl`,
  rowsCsv: (job: string) => `predictions/${job}/rows.csv`,
  featureNames: (job: string) => `predictions/${job}/names.jsonl`,
  featureMatrix: (job: string) => `predictions/${job}/features.safetensors`,
  errors: (job: string) => `predictions/${job}/errors.jsonl`,
  contactSheet: (job: string) => `predictions/${job}/contact-sheet.jsonl`,

  /** Features by backbone, by view (transform and augmentation), and in segments by their own digest. */
  allFeatures: "features/",
  features: (backbone: string, view: string) => `features/${backbone}/${view}/`,
  featureSegment: (backbone: string, view: string, segment: string) => `features/${backbone}/${view}/${segment}`,

  /** What a training job has its features extracted from; removed when the job has ended. */
  allExtractions: "extractions/",
  extraction: (job: string) => `extractions/${job}/`,
  extractionPlan: (job: string) => `extractions/${job}/plan.json`,
  extractionInputs: (job: string, shard: number) => `extractions/${job}/inputs/${number(shard)}.jsonl`,
  extractionNetwork: (job: string) => `extractions/${job}/network.onnx`,

  /** What operators put there for `POST /v1/models/import`; no other key can be named as its source. */
  imports: "imports/",
  importClasses: (job: string) => `uploads/${job}.classes.json`,

  /** What clients send and jobs have not taken yet. */
  uploads: "uploads/",
  upload: (id: string) => `uploads/${id}`,
} as const;

const number = (n: number): string => String(n).padStart(6, "0");
