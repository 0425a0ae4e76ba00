/** TensorFlow ops as functions, for NHWC float32 tensors. Every function makes new tensors and disposes none. */
import { batchNormEpsilon, batchNormMomentum } from "../layer-graph.ts";
import { attribute, op, ops, type Tensor, tf } from "./tensorflow.ts";

const T = [attribute.float32("T")];
const nhwc = attribute.string("data_format", "NHWC");

/** How a square window moves over rows and columns: the same for a convolution and its gradients. */
export interface Window {
  readonly kernel: number;
  readonly stride: number;
  /** Zeros added on all four sides. */
  readonly padding: number;
}

function explicitWindow({ stride, padding }: Window) {
  return [
    ...T,
    attribute.int("strides", [1, stride, stride, 1]),
    attribute.string("padding", "EXPLICIT"),
    attribute.int("explicit_paddings", [0, 0, padding, padding, padding, padding, 0, 0]),
    nhwc,
  ];
}

/** Filter [h, w, in / groups, out]: the groups are those that the shapes imply. */
export function conv2d(x: Tensor, filter: Tensor, window: Window): Tensor {
  return op("Conv2D", explicitWindow(window), [x, filter]);
}

/**
 * Gradient of conv2d with respect to its input [N, H, W, in]. Only libtensorflow with oneDNN takes grouped filters in
 * the gradients. TensorFlow gives a gradient to oneDNN (up to five times as fast as its own kernels) only where the
 * padding is not explicit; what this needs is in implicitWindow. Call within tf.tidy.
 */
export function conv2dInputGradient(dy: Tensor, filter: Tensor, xShape: number[], window: Window): Tensor {
  const { attributes, margins } = implicitWindow(xShape, dy.shape, window);
  const [batch, height, width, channels] = xShape as [number, number, number, number];
  if (!margins) return op("Conv2DBackpropInput", attributes, [tf.tensor1d(xShape, "int32"), filter, dy]);
  const [rows, columns] = margins.map(([before, after]) => before + after) as [number, number];
  const padded = tf.tensor1d([batch, height + rows, width + columns, channels], "int32");
  const gradient = op("Conv2DBackpropInput", attributes, [padded, filter, dy]);
  return tf.slice(gradient, [0, margins[0][0], margins[1][0], 0], xShape);
}

/** Gradient of conv2d with respect to its filter, of the given shape. Call within tf.tidy. */
export function conv2dFilterGradient(x: Tensor, shape: number[], dy: Tensor, window: Window): Tensor {
  const { attributes, margins } = implicitWindow(x.shape, dy.shape, window);
  const padded = margins ? tf.pad(x, [[0, 0], ...margins, [0, 0]]) : x;
  return op("Conv2DBackpropFilter", attributes, [padded, tf.tensor1d(shape, "int32"), dy]);
}

/**
 * The same window without explicit padding: SAME where TensorFlow's is PyTorch's, else VALID over an input with
 * `margins`, zeros before and after its rows and its columns (as many after as the last window reaches).
 */
function implicitWindow(xShape: number[], yShape: number[], { kernel, stride, padding }: Window) {
  const same = stride === 1 && kernel === 2 * padding + 1;
  const after = (axis: 1 | 2) => (yShape[axis]! - 1) * stride + kernel - padding - xShape[axis]!;
  const margins: [Margin, Margin] = [
    [padding, after(1)],
    [padding, after(2)],
  ];
  const attributes = [
    ...T,
    attribute.int("strides", [1, stride, stride, 1]),
    attribute.string("padding", same ? "SAME" : "VALID"),
    nhwc,
  ];
  return { attributes, margins: same ? undefined : margins };
}

type Margin = [before: number, after: number];

/** Equal parts along the last axis. */
export function split(x: Tensor, parts: number): Tensor[] {
  if (parts === 1) return [x];
  const axis = tf.scalar(x.rank - 1, "int32");
  return ops("Split", [...T, attribute.int("num_split", parts)], [axis, x], parts);
}

export function maxPool(x: Tensor, window: Window): Tensor {
  const ksize = attribute.int("ksize", [1, window.kernel, window.kernel, 1]);
  return op("MaxPool", [...explicitWindow(window), ksize], [x]);
}

/** Looks for the maxima again; max-pool.ts has a faster form. */
export function maxPoolGradient({ x, y, dy }: { x: Tensor; y: Tensor; dy: Tensor }, window: Window): Tensor {
  const ksize = attribute.int("ksize", [1, window.kernel, window.kernel, 1]);
  return op("MaxPoolGrad", [...explicitWindow(window), ksize], [x, y, dy]);
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
