/**
 * Convolutions and both their gradients on TensorFlow's CPU kernels, NHWC.
 *
 * - 1x1: a matrix product over [N*H*W, channels], as its gradients, which run near the machine's peak that way. Stride
 *   2 takes every second row and column first.
 * - larger kernels: TensorFlow's convolutions, through oneDNN (see kernels.ts); grouped ones: see grouped.ts.
 */
import type { ConvNode } from "../layer-graph.ts";
import { type ConvolutionEngine, groupedConv2d, groupedFilterGradient, groupedInputGradient } from "./grouped.ts";
import { conv2d, conv2dFilterGradient, conv2dInputGradient, matMul } from "./kernels.ts";
import { insertZeros, subsample } from "./spacing.ts";
import { type Tensor, tf } from "./tensorflow.ts";

/** Filter layout: [in, out] for 1x1, else [kernel, kernel, in / groups, out]. Call within tf.tidy. */
export function convForward(x: Tensor, filter: Tensor, node: ConvNode, engine: ConvolutionEngine): Tensor {
  if (node.kernel === 1) {
    const rows = subsample(x, node.stride);
    const product = matMul(tf.reshape(rows, [-1, node.inChannels]), filter);
    return tf.reshape(product, [...rows.shape.slice(0, 3), node.outChannels]);
  }
  if (node.groups === 1) return conv2d(x, filter, node);
  return groupedConv2d(x, filter, node, engine);
}

/** Gradient with respect to x, whose shape is [N, H, W, in]. Call within tf.tidy. */
export function convInputGradient(
  dy: Tensor,
  filter: Tensor,
  node: ConvNode,
  xShape: number[],
  engine: ConvolutionEngine,
): Tensor {
  const [batch, height, width] = xShape as [number, number, number];
  if (node.kernel === 1) {
    const product = matMulTransposed(tf.reshape(dy, [-1, node.outChannels]), filter);
    const dx = tf.reshape(product, [...dy.shape.slice(0, 3), node.inChannels]);
    if (node.stride === 1) return dx;
    const spread = insertZeros(dx, node.stride);
    return tf.slice(spread, [0, 0, 0, 0], [batch, height, width, node.inChannels]);
  }
  if (node.groups === 1) return conv2dInputGradient(dy, filter, xShape, node);
  return groupedInputGradient(dy, filter, xShape, node, engine);
}

/** Gradient with respect to the filter, in the filter's layout. Call within tf.tidy. */
export function convFilterGradient(x: Tensor, dy: Tensor, node: ConvNode, engine: ConvolutionEngine): Tensor {
  if (node.kernel === 1) {
    const rows = tf.reshape(subsample(x, node.stride), [-1, node.inChannels]);
    return matMul(rows, tf.reshape(dy, [-1, node.outChannels]), { a: true });
  }
  if (node.groups === 1) {
    const shape = [node.kernel, node.kernel, node.inChannels, node.outChannels];
    return conv2dFilterGradient(x, shape, dy, node);
  }
  return groupedFilterGradient(x, dy, node, engine);
}

/**
 * dy [rows, out] times the filter [in, out] transposed. With many more terms than results MatMul's own transposition
 * costs a quarter of its speed (3136x1024 by 512x1024: 20 ms of CPU time, transposed beforehand 16), else nothing.
 */
function matMulTransposed(dy: Tensor, filter: Tensor): Tensor {
  const [inChannels, outChannels] = filter.shape as [number, number];
  if (outChannels < 512 || outChannels <= inChannels) return matMul(dy, filter, { b: true });
  return matMul(dy, tf.transpose(filter));
}
