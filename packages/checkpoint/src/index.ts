export {
  aliasesByModel,
  deleteAlias,
  listAliases,
  type MoveOptions,
  readAlias,
  rollBackAlias,
  setAlias,
} from "./aliases.ts";
export {
  type BundleContent,
  formatClassIndices,
  modelId,
  modelIdPrefix,
  parseClassIndices,
  writeBundleFiles,
} from "./bundle.ts";
export { type DeleteModelOptions, deleteModel, modelRemoval } from "./delete-model.ts";
export {
  checkClassIndex,
  type FitOptions,
  type FitReport,
  type FittedStateDict,
  fitStateDict,
  headClasses,
  type TensorSpec,
} from "./fit-state-dict.ts";
export { ancestorsOf } from "./lineage.ts";
export { MATRIX_NAME, npyMatrixHeader, safetensorsMatrixHeader } from "./matrix-file.ts";
export { queryModels } from "./model-list.ts";
export {
  CheckpointPointer,
  type CheckpointRef,
  type Checkpoints,
  claimCheckpoint,
  type PointerState,
  readCheckpoint,
  rollForward,
} from "./pointer.ts";
export { assertUsable, listModels, type Model, readModel, resolveModel } from "./registry.ts";
export { decodeSafetensors, encodeSafetensors, type SafetensorsFile, type Tensor } from "./safetensors.ts";
export { type SweepOptions, sweepJob } from "./sweep.ts";
export { type ByteSource, bytesSource, fileSource } from "./torch/byte-source.ts";
export { readTorchCheckpoint, type TorchCheckpoint } from "./torch/read-torch-checkpoint.ts";
export { readWeights, readWeightsFile, type WeightsFile } from "./weights-file.ts";
