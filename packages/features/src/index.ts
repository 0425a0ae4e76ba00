/** The cache of backbone features: by backbone, view and image, shared by all jobs. */
export {
  type FeatureOptions,
  type FeaturePlace,
  type FeatureRows,
  missingFeatures,
  readFeatures,
  writeFeatures,
} from "./cache.ts";
export { backboneDigest, viewDigest } from "./digests.ts";
export {
  type ExtractionOptions,
  type ExtractionPlan,
  type ExtractionShard,
  type FeatureNeed,
  planExtraction,
  plannedImages,
  readPlan,
  spendPlan,
} from "./plan.ts";
export { sweepFeatures } from "./sweep.ts";
