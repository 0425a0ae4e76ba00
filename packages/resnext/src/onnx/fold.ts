import { type BatchNormNode, batchNormEpsilon, type ConvNode } from "../layer-graph.ts";
import { floats, type Parameters } from "../parameters.ts";

/**
 * A convolution and the BatchNorm behind it as one convolution with a bias. With s = weight / sqrt(var + epsilon):
 * w' = w * s for each output channel, b' = bias - mean * s. Computed in float64, rounded once.
 */
export function foldBatchNorm(
  conv: ConvNode,
  bn: BatchNormNode,
  parameters: Parameters,
): { weight: Float32Array; bias: Float32Array } {
  const weight = floats(parameters, `${conv.id}.weight`);
  const gamma = floats(parameters, `${bn.id}.weight`);
  const beta = floats(parameters, `${bn.id}.bias`);
  const mean = floats(parameters, `${bn.id}.running_mean`);
  const variance = floats(parameters, `${bn.id}.running_var`);
  const perChannel = weight.length / conv.outChannels;
  const folded = new Float32Array(weight.length);
  const bias = new Float32Array(conv.outChannels);
  for (let channel = 0; channel < conv.outChannels; channel++) {
    const scale = gamma[channel]! / Math.sqrt(variance[channel]! + batchNormEpsilon);
    bias[channel] = beta[channel]! - mean[channel]! * scale;
    const end = (channel + 1) * perChannel;
    for (let index = channel * perChannel; index < end; index++) folded[index] = weight[index]! * scale;
  }
  return { weight: folded, bias };
}
