/** The parts of a batch prediction that need no network: planning and stitching. Loads no native engine. */
export {
  type PlannedShard,
  type PlanOptions,
  type PredictionPlan,
  planShards,
  readPlan,
  unfinishedShards,
} from "./plan.ts";
export { checkFailureRate, type MissingShard, type StitchOptions, type StitchResult, stitchParts } from "./stitch.ts";
