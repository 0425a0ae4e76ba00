export {
  type BundleContent,
  formatClassIndices,
  modelId,
  parseClassIndices,
  writeBundleFiles,
} from "./bundle.ts";
export {
  CheckpointPointer,
  type CheckpointRef,
  type Checkpoints,
  claimCheckpoint,
  type PointerState,
  readCheckpoint,
  rollForward,
} from "./pointer.ts";
export { listAliases, listModels, type Model, readAlias, readModel, resolveModel, setAlias } from "./registry.ts";
export { decodeSafetensors, encodeSafetensors, type SafetensorsFile, type Tensor } from "./safetensors.ts";
export { type SweepOptions, sweepJob } from "./sweep.ts";
