export {
  type Architecture,
  ArchitectureError,
  architecture,
  architectureNames,
  checkArchitecture,
  featureChannels,
  stageNames,
} from "./architecture.ts";
export { initHead, initParameters } from "./init.ts";
export { batchNormEpsilon, batchNormMomentum, type LayerNode, layerGraph } from "./layer-graph.ts";
export {
  checkParameters,
  isLearned,
  ParameterError,
  type ParameterKind,
  type ParameterSpec,
  type Parameters,
  type ParameterTensor,
  parameterCount,
  parameterSpecs,
} from "./parameters.ts";
export { Random } from "./random.ts";
