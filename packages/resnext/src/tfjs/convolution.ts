/**
 * Convolutions and both their gradients on TensorFlow's CPU kernels, NHWC.
 *
 * - 1x1: a matrix product over [N*H*W, channels]. Its gradients run near the machine's peak as products, several
 *   times faster than Conv2DBackpropInput. Stride 2 takes every second row and column first.
 * - the gradient for the input of a larger kernel is itself a convolution: of dy (with zeros put between its rows and
 *   columns where the stride is 2) with the filter flipped in space and its channels swapped within each group.
 *   It works for any groups, while Conv2DBackpropInput refuses grouped filters.
 * - grouped filters and their gradients: see grouped.ts.
 */
import type { ConvNode } from "../layer-graph.ts";
import { type ConvolutionEngine, groupedConv2d, groupedFilterGradient } from "./grouped.ts";
import { conv2d, conv2dFilterGradient, matMul, type Pads, samePads } from "./kernels.ts";
import { insertZeros, subsample } from "./spacing.ts";
import { type Tensor, tf } from "./tensorflow.ts";

/** Filter layout: [in, out] for 1x1, else [kernel, kernel, in / groups, out]. Call within tf.tidy. */
export function convForward(x: Tensor, filter: Tensor, node: ConvNode, engine: ConvolutionEngine): Tensor {
  if (node.kernel === 1) {
    const rows = subsample(x, node.stride);
    const product = matMul(tf.reshape(rows, [-1, node.inChannels]), filter);
    return tf.reshape(product, [...rows.shape.slice(0, 3), node.outChannels]);
  }
  const pads = samePads(node.padding);
  if (node.groups === 1) return conv2d(x, filter, node.stride, pads);
  return groupedConv2d(x, filter, { groups: node.groups, stride: node.stride, pads }, engine);
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
  const spread = insertZeros(dy, node.stride);
  const before = node.kernel - 1 - node.padding;
  // One output position for each position of x: side = spread + before + after - kernel + 1.
  const after = (side: number, spreadSide: number) => side - spreadSide - before + node.kernel - 1;
  const pads: Pads = {
    top: before,
    bottom: after(height, spread.shape[1]!),
    left: before,
    right: after(width, spread.shape[2]!),
  };
  const flipped = flipFilter(filter, node.groups);
  if (node.groups === 1) return conv2d(spread, flipped, 1, pads);
  return groupedConv2d(spread, flipped, { groups: node.groups, stride: 1, pads }, engine);
}

/** Gradient with respect to the filter, in the filter's layout. Call within tf.tidy. */
export function convFilterGradient(x: Tensor, dy: Tensor, node: ConvNode, engine: ConvolutionEngine): Tensor {
  if (node.kernel === 1) {
    const rows = tf.reshape(subsample(x, node.stride), [-1, node.inChannels]);
    return matMul(rows, tf.reshape(dy, [-1, node.outChannels]), { a: true });
  }
  if (node.groups === 1) {
    const shape = [node.kernel, node.kernel, node.inChannels, node.outChannels];
    return conv2dFilterGradient(x, shape, dy, node.stride, samePads(node.padding));
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

/** [k, k, in / groups, out] to [k, k, out / groups, in], turned by 180 degrees. */
function flipFilter(filter: Tensor, groups: number): Tensor {
  const [kernel, , inPerGroup, out] = filter.shape as [number, number, number, number];
  const grouped = tf.reshape(filter, [kernel, kernel, inPerGroup, groups, out / groups]);
  const swapped = tf.transpose(grouped, [0, 1, 4, 3, 2]);
  return tf.reverse(tf.reshape(swapped, [kernel, kernel, out / groups, groups * inPerGroup]), [0, 1]);
}
