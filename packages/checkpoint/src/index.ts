export {
  type BundleContent,
  formatClassIndices,
  modelId,
  parseClassIndices,
  writeBundleFiles,
} from "./bundle.ts";
export {
  checkClassIndex,
  type FitOptions,
  type FitReport,
  type FittedStateDict,
  fitStateDict,
  headClasses,
  type TensorSpec,
} from "./fit-state-dict.ts";
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
export { type ByteSource, bytesSource, fileSource } from "./torch/byte-source.ts";
export { readTorchCheckpoint, type TorchCheckpoint } from "./torch/read-torch-checkpoint.ts";
export { readWeights, readWeightsFile, type WeightsFile } from "./weights-file.ts";
