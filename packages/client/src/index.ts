export { CardinalClient, type PredictBody, type TrainBody, type UploadOptions } from "./cardinal-client.ts";
export type { Connection } from "./http.ts";
