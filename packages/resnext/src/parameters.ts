import type { Architecture } from "./architecture.ts";
import { type LayerNode, layerGraph } from "./layer-graph.ts";

/** What a tensor of the state_dict is: decides its initial value, and whether an optimiser changes it. */
export type ParameterKind =
  | "conv weight"
  | "bn weight"
  | "bn bias"
  | "running_mean"
  | "running_var"
  | "num_batches_tracked"
  | "fc weight"
  | "fc bias";

export interface ParameterSpec {
  /** torchvision's state_dict key, such as `layer1.0.conv2.weight`. */
  readonly name: string;
  /** PyTorch's order: OIHW for convolutions, [out, in] for fc, [] for num_batches_tracked. */
  readonly shape: readonly number[];
  readonly kind: ParameterKind;
  /** conv1, layer1, ..., head. */
  readonly stage: string;
}

/** A named tensor's contents; row-major. int64 only for num_batches_tracked. */
export interface ParameterTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | BigInt64Array;
}

/** A state_dict: torchvision's names, shapes and (in iteration) order. */
export type Parameters = ReadonlyMap<string, ParameterTensor>;

/** Parameters that do not belong to the architecture: a missing or unknown name, another shape or type. */
export class ParameterError extends Error {
  override name = "ParameterError";
}

/** True for what gradient descent changes; false for BatchNorm's statistics. */
export function isLearned(spec: ParameterSpec): boolean {
  return spec.kind !== "running_mean" && spec.kind !== "running_var" && spec.kind !== "num_batches_tracked";
}

/** The state_dict's keys, shapes and kinds in torchvision's order; without `fc.*` when includeTop is false. */
export function parameterSpecs(
  arch: Architecture,
  numClasses: number,
  options: { includeTop?: boolean } = {},
): ParameterSpec[] {
  return layerGraph(arch, numClasses, options).flatMap(nodeSpecs);
}

function nodeSpecs(node: LayerNode): ParameterSpec[] {
  const spec = (suffix: string, shape: number[], kind: ParameterKind): ParameterSpec => {
    return { name: `${node.id}.${suffix}`, shape, kind, stage: node.stage };
  };
  switch (node.kind) {
    case "conv": {
      const shape = [node.outChannels, node.inChannels / node.groups, node.kernel, node.kernel];
      return [spec("weight", shape, "conv weight")];
    }
    case "bn":
      return [
        spec("weight", [node.channels], "bn weight"),
        spec("bias", [node.channels], "bn bias"),
        spec("running_mean", [node.channels], "running_mean"),
        spec("running_var", [node.channels], "running_var"),
        spec("num_batches_tracked", [], "num_batches_tracked"),
      ];
    case "fc":
      return [
        spec("weight", [node.outFeatures, node.inFeatures], "fc weight"),
        spec("bias", [node.outFeatures], "fc bias"),
      ];
    default:
      return [];
  }
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, side) => product * side, 1);
}

/** Number of learned values (weights and biases, not running statistics), as `sum(p.numel())` counts them. */
export function parameterCount(arch: Architecture, numClasses: number): number {
  const learned = parameterSpecs(arch, numClasses).filter(isLearned);
  return learned.reduce((sum, spec) => sum + elementCount(spec.shape), 0);
}

/**
 * Throws ParameterError unless the map holds exactly the architecture's tensors; the message names the first ones
 * that are missing, unknown or of another shape. With includeTop false, `fc.*` may be there or not.
 */
export function checkParameters(
  arch: Architecture,
  numClasses: number,
  parameters: Parameters,
  options: { includeTop?: boolean } = {},
): void {
  const specs = parameterSpecs(arch, numClasses, options);
  const missing = specs.filter((spec) => !parameters.has(spec.name)).map((spec) => spec.name);
  if (missing.length > 0) throw new ParameterError(`${arch.name}: ${listed(missing)} missing from the parameters`);
  const known = new Set(specs.map((spec) => spec.name));
  const optional = (name: string) => options.includeTop === false && name.startsWith("fc.");
  const unknown = [...parameters.keys()].filter((name) => !known.has(name) && !optional(name));
  if (unknown.length > 0) throw new ParameterError(`${arch.name} has no ${listed(unknown)}`);
  for (const spec of specs) checkTensor(spec, parameters.get(spec.name)!);
}

function checkTensor(spec: ParameterSpec, tensor: ParameterTensor): void {
  const same =
    tensor.shape.length === spec.shape.length && tensor.shape.every((side, axis) => side === spec.shape[axis]);
  if (!same) throw new ParameterError(`${spec.name} is [${tensor.shape}], must be [${spec.shape}]`);
  const type = spec.kind === "num_batches_tracked" ? BigInt64Array : Float32Array;
  if (!(tensor.data instanceof type)) throw new ParameterError(`${spec.name} must be a ${type.name}`);
  if (tensor.data.length !== elementCount(spec.shape)) {
    throw new ParameterError(
      `${spec.name} has ${tensor.data.length} values, [${spec.shape}] needs ${elementCount(spec.shape)}`,
    );
  }
}

function listed(names: string[]): string {
  return names.length <= 3 ? names.join(", ") : `${names.slice(0, 3).join(", ")} and ${names.length - 3} more`;
}

/** The float tensor of that name. Throws ParameterError when it is missing or an integer. */
export function floats(parameters: Parameters, name: string): Float32Array {
  const data = parameters.get(name)?.data;
  if (!(data instanceof Float32Array)) throw new ParameterError(`${name} is ${data ? "not float32" : "missing"}`);
  return data;
}
