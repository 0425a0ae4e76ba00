import type { Architecture } from "../architecture.ts";
import { batchNormEpsilon, featuresId, inputId, type LayerNode, layerGraph, logitsId } from "../layer-graph.ts";
import { checkParameters, floats, type Parameters } from "../parameters.ts";
import { add, batchNorm, conv, fullyConnected, globalAveragePool, type Image, maxPool, relu } from "./layers.ts";

export interface ReferenceOutputs {
  /** [N, numClasses] */
  readonly logits: Float64Array;
  /** [N, featureChannels] */
  readonly features: Float64Array;
}

/**
 * The network in evaluation mode, computed by plain loops in float64 (minutes for a full-size net: use small ones).
 * Input: N images as NCHW [N, 3, side, side], already normalised. Defines what every other interpreter must give.
 * Throws ParameterError when the parameters are not the architecture's, RangeError for a wrong number of pixels.
 */
export function referenceForward(
  arch: Architecture,
  parameters: Parameters,
  input: { readonly batch: number; readonly side: number; readonly data: Float32Array },
): ReferenceOutputs {
  const numClasses = parameters.get("fc.bias")?.data.length ?? 0;
  checkParameters(arch, numClasses, parameters);
  const { batch, side, data } = input;
  if (data.length !== batch * 3 * side * side) {
    throw new RangeError(`${data.length} values are not ${batch} images of 3x${side}x${side}`);
  }
  const values = new Map<string, Image>();
  for (const node of layerGraph(arch, numClasses)) {
    const inputs = node.inputs.map((id) => values.get(id)!);
    if (node.kind === "input") values.set(inputId, { shape: [batch, 3, side, side], data: Float64Array.from(data) });
    else values.set(node.id, evaluate(node, inputs, parameters));
  }
  return { logits: values.get(logitsId)!.data, features: values.get(featuresId)!.data };
}

function evaluate(node: LayerNode, inputs: Image[], parameters: Parameters): Image {
  const x = inputs[0]!;
  const tensor = (suffix: string) => floats(parameters, `${node.id}.${suffix}`);
  switch (node.kind) {
    case "conv":
      return conv(x, tensor("weight"), node);
    case "bn": {
      const statistics = { mean: tensor("running_mean"), variance: tensor("running_var"), epsilon: batchNormEpsilon };
      return batchNorm(x, { weight: tensor("weight"), bias: tensor("bias"), ...statistics });
    }
    case "relu":
      return relu(x);
    case "add":
      return add(x, inputs[1]!);
    case "maxpool":
      return maxPool(x, node);
    case "global-avg-pool":
      return globalAveragePool(x);
    case "fc":
      return fullyConnected(x, tensor("weight"), tensor("bias"));
    case "input":
      throw new Error("the input has no inputs to compute it from");
  }
}
