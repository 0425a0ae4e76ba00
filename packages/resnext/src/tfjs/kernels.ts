/** TensorFlow ops as functions, for NHWC float32 tensors. Every function makes new tensors and disposes none. */
import { batchNormEpsilon, batchNormMomentum } from "../layer-graph.ts";
import { attribute, op, ops, type Tensor, tf } from "./tensorflow.ts";

const T = [attribute.float32("T")];
const nhwc = attribute.string("data_format", "NHWC");

/** Zeros before and after, in rows and in columns. */
export interface Pads {
  readonly top: number;
  readonly bottom: number;
  readonly left: number;
  readonly right: number;
}

export function samePads(padding: number): Pads {
  return { top: padding, bottom: padding, left: padding, right: padding };
}

function windowAttributes(stride: number, pads: Pads) {
  const explicit = [0, 0, pads.top, pads.bottom, pads.left, pads.right, 0, 0];
  return [
    ...T,
    attribute.int("strides", [1, stride, stride, 1]),
    attribute.string("padding", "EXPLICIT"),
    attribute.int("explicit_paddings", explicit),
    nhwc,
  ];
}

/** Filter [h, w, in / groups, out]: the groups are those that the shapes imply. */
export function conv2d(x: Tensor, filter: Tensor, stride: number, pads: Pads): Tensor {
  return op("Conv2D", windowAttributes(stride, pads), [x, filter]);
}

/** Gradient of an ungrouped conv2d with respect to its filter. */
export function conv2dFilterGradient(x: Tensor, shape: number[], dy: Tensor, stride: number, pads: Pads): Tensor {
  return op("Conv2DBackpropFilter", windowAttributes(stride, pads), [x, tf.tensor1d(shape, "int32"), dy]);
}

/** Equal parts along the last axis. */
export function split(x: Tensor, parts: number): Tensor[] {
  if (parts === 1) return [x];
  const axis = tf.scalar(x.rank - 1, "int32");
  return ops("Split", [...T, attribute.int("num_split", parts)], [axis, x], parts);
}

export function maxPool(x: Tensor, kernel: number, stride: number, padding: number): Tensor {
  const ksize = attribute.int("ksize", [1, kernel, kernel, 1]);
  return op("MaxPool", [...windowAttributes(stride, samePads(padding)), ksize], [x]);
}

/** Looks for the maxima again; max-pool.ts has a faster form. */
export function maxPoolGradient(
  { x, y, dy }: { x: Tensor; y: Tensor; dy: Tensor },
  kernel: number,
  stride: number,
  padding: number,
): Tensor {
  const ksize = attribute.int("ksize", [1, kernel, kernel, 1]);
  return op("MaxPoolGrad", [...windowAttributes(stride, samePads(padding)), ksize], [x, y, dy]);
}

export function matMul(a: Tensor, b: Tensor, transpose: { a?: boolean; b?: boolean } = {}): Tensor {
  const flags = [
    attribute.bool("transpose_a", transpose.a ?? false),
    attribute.bool("transpose_b", transpose.b ?? false),
  ];
  return op("MatMul", [...T, ...flags], [a, b]);
}

export function add(a: Tensor, b: Tensor): Tensor {
  return op("AddV2", T, [a, b]);
}

export function relu(x: Tensor): Tensor {
  return op("Relu", T, [x]);
}

/** y: the output of relu, which has the sign that the gradient needs. */
export function reluGradient(dy: Tensor, y: Tensor): Tensor {
  return op("ReluGrad", T, [dy, y]);
}

export interface BatchNormInputs {
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly runningMean: Tensor;
  readonly runningVar: Tensor;
}

const batchNormAttributes = [
  ...T,
  attribute.float32("U"),
  attribute.float("epsilon", batchNormEpsilon),
  attribute.float("exponential_avg_factor", batchNormMomentum),
  nhwc,
];
const [training, inference] = [attribute.bool("is_training", true), attribute.bool("is_training", false)];

export function batchNormInference(x: Tensor, { weight, bias, runningMean, runningVar }: BatchNormInputs): Tensor {
  const inputs = [x, weight, bias, runningMean, runningVar];
  return ops("FusedBatchNormV3", [...batchNormAttributes, inference], inputs, 6)[0]!;
}

/**
 * Normalises by the batch's mean and biased variance. The new running statistics are
 * 0.9 old + 0.1 batch, with the unbiased variance, as PyTorch's. `reserve` is what the gradient takes.
 */
export function batchNormTraining(x: Tensor, { weight, bias, runningMean, runningVar }: BatchNormInputs) {
  const inputs = [x, weight, bias, runningMean, runningVar];
  const outputs = ops("FusedBatchNormV3", [...batchNormAttributes, training], inputs, 6);
  return { y: outputs[0]!, newMean: outputs[1]!, newVar: outputs[2]!, reserve: outputs.slice(3) };
}

export function batchNormGradient(dy: Tensor, x: Tensor, weight: Tensor, reserve: readonly Tensor[]) {
  const attributes = [...T, attribute.float32("U"), attribute.float("epsilon", batchNormEpsilon), nhwc, training];
  const outputs = ops("FusedBatchNormGradV3", attributes, [dy, x, weight, ...reserve], 5);
  return { dx: outputs[0]!, dWeight: outputs[1]!, dBias: outputs[2]! };
}
