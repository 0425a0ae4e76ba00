export {
  type ArchiveSource,
  CardinalClient,
  type ImportBody,
  type PredictBody,
  type ResultFormat,
  type TrainBody,
  type UploadOptions,
} from "./cardinal-client.ts";
export type { Connection } from "./http.ts";
export type { LogOptions, WaitOptions } from "./watching.ts";
