/** The parts of a batch prediction that need no network: planning, searching, stitching. Loads no native engine. */
export { joinPieces } from "./join-pieces.ts";
export { predictAround } from "./killer-search.ts";
export { formatPart, type Part, type PartRow, readPart } from "./part.ts";
export {
  type PlannedShard,
  type PlanOptions,
  type PredictionPlan,
  planShards,
  readInputs,
  readPlan,
  type UnfinishedShard,
  unfinishedShards,
} from "./plan.ts";
export { checkFailureRate, type MissingShard, type StitchOptions, type StitchResult, stitchParts } from "./stitch.ts";
