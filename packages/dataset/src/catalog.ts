/** Data sets as a whole, without decoding an image: for processes that load no image library. */
export { type Collection, type CollectOptions, collectBlobs } from "./collect-blobs.ts";
export {
  assertDatasetUsable,
  assertNameUsable,
  listDatasets,
  listVersions,
  readDataset,
  readManifest,
} from "./datasets.ts";
export { type DeleteDatasetOptions, datasetRemoval, deleteDataset, deleteVersion } from "./delete-dataset.ts";
