/**
 * Grouped convolution, which tfjs does not have. Two forms, chosen once per process by a probe:
 *
 * - native: TensorFlow's own Conv2D with a grouped filter (CPU kernel of libtensorflow, 3 to 6 times faster).
 * - split: ordinary convolutions of blocks of at least 32 channels, their filters filled up with zeros outside of the
 *   groups. For a libtensorflow whose CPU kernel refuses grouped filters.
 *
 * The filter's gradient has no grouped kernel in either: it is made of dense blocks, of which the diagonal is kept, or
 * (native, stride 1) as one grouped convolution. Measured on 2 cores with AVX-512, ms for 16 images:
 *   56x56x128 in blocks of 16: 17, of 32: 21, as a convolution: 52 to 90; 28x28x256: 11, 10, 15 to 20;
 *   14x14x512: 6.3, 8, 5.4; 7x7x1024 (blocks of 32): 7, as a convolution: 4.7.
 * With stride 2 the convolution works on as many zeros again as it saves: 2.5 times slower than blocks of 32.
 */
import type { ConvNode } from "../layer-graph.ts";
import { conv2d, conv2dFilterGradient, type Pads, samePads } from "./kernels.ts";
import { type Tensor, tf } from "./tensorflow.ts";

export type ConvolutionEngine = "native" | "split";

let probed: ConvolutionEngine | undefined;

/** Which form this process uses: probed at the first call with a tiny grouped convolution. */
export function convolutionEngine(): ConvolutionEngine {
  probed ??= probe();
  return probed;
}

function probe(): ConvolutionEngine {
  return tf.tidy(() => {
    // Two groups of one channel: 1 * 3 and 2 * 5.
    const x = tf.tensor4d([1, 2], [1, 1, 1, 2]);
    const filter = tf.tensor4d([3, 5], [1, 1, 1, 2]);
    try {
      const [first, second] = conv2d(x, filter, 1, samePads(0)).dataSync();
      return first === 3 && second === 10 ? "native" : "split";
    } catch {
      return "split";
    }
  });
}

interface GroupedShape {
  readonly groups: number;
  readonly stride: number;
  readonly pads: Pads;
}

/** Filter [k, k, in / groups, out]. */
export function groupedConv2d(x: Tensor, filter: Tensor, shape: GroupedShape, engine: ConvolutionEngine): Tensor {
  if (engine === "native") return conv2d(x, filter, shape.stride, shape.pads);
  const [kernel, , inPerGroup, out] = filter.shape as [number, number, number, number];
  const block = blockOf(shape.groups, { inPerGroup, outPerGroup: out / shape.groups }, 32);
  const parts = blockStarts(shape.groups, block).map((group) => {
    const dense = tf.mul(
      tf.tile(channelSlice(filter, group * block.outPerGroup, block.out), [1, 1, block.groups, 1]),
      groupMask(block),
    );
    const channels = channelSlice(x, group * block.inPerGroup, block.in);
    return conv2d(channels, tf.reshape(dense, [kernel, kernel, block.in, block.out]), shape.stride, shape.pads);
  });
  return tf.concat(parts, 3);
}

/** Gradient of a grouped convolution with respect to its filter [k, k, in / groups, out]. */
export function groupedFilterGradient(x: Tensor, dy: Tensor, node: ConvNode, engine: ConvolutionEngine): Tensor {
  const positions = dy.shape[1]! * dy.shape[2]!;
  if (engine === "split") return filterGradientInBlocks(x, dy, node, 32);
  if (node.stride === 1 && positions <= 14 * 14) return filterGradientAsConvolution(x, dy, node);
  return filterGradientInBlocks(x, dy, node, positions > 28 * 28 ? 16 : 32);
}

/** Dense gradients of blocks of whole groups, of which the diagonal is kept. */
function filterGradientInBlocks(x: Tensor, dy: Tensor, node: ConvNode, width: number): Tensor {
  const { kernel, groups } = node;
  const perGroup = { inPerGroup: node.inChannels / groups, outPerGroup: node.outChannels / groups };
  const block = blockOf(groups, perGroup, width);
  const parts = blockStarts(groups, block).map((group) => {
    const dense = conv2dFilterGradient(
      channelSlice(x, group * block.inPerGroup, block.in),
      [kernel, kernel, block.in, block.out],
      channelSlice(dy, group * block.outPerGroup, block.out),
      node.stride,
      samePads(node.padding),
    );
    const diagonal = tf.mul(dense, groupMask(block));
    return tf.sum(tf.reshape(diagonal, [kernel, kernel, block.groups, block.inPerGroup, block.out]), 2);
  });
  return tf.concat(parts, 3);
}

/**
 * The same gradient, for stride 1, as one grouped convolution whose batch is the input channel within the group: x as
 * [in / groups, H, W, groups * N], dy as the filter [H, W, N, out], and the k by k positions as its output.
 */
function filterGradientAsConvolution(x: Tensor, dy: Tensor, { groups, inChannels, padding }: ConvNode): Tensor {
  const [batch, height, width] = x.shape as [number, number, number];
  const inPerGroup = inChannels / groups;
  const byGroup = tf.transpose(tf.reshape(x, [batch, height * width, groups, inPerGroup]), [3, 1, 2, 0]);
  const images = tf.reshape(byGroup, [inPerGroup, height, width, groups * batch]);
  const gradient = conv2d(images, tf.transpose(dy, [1, 2, 0, 3]), 1, samePads(padding));
  return tf.transpose(gradient, [1, 2, 0, 3]);
}

interface Block {
  /** Whole groups in a block, and channels of a group and of a block on either side. */
  readonly groups: number;
  readonly inPerGroup: number;
  readonly outPerGroup: number;
  readonly in: number;
  readonly out: number;
}

/** The fewest whole groups that have at least `width` output channels and divide all groups evenly. */
function blockOf(groups: number, perGroup: { inPerGroup: number; outPerGroup: number }, width: number): Block {
  let count = 1;
  while (count < groups && (count * perGroup.outPerGroup < width || groups % count !== 0)) count++;
  return { groups: count, ...perGroup, in: count * perGroup.inPerGroup, out: count * perGroup.outPerGroup };
}

/** First group of each block. */
function blockStarts(groups: number, block: Block): number[] {
  return Array.from({ length: groups / block.groups }, (_, index) => index * block.groups);
}

function channelSlice(x: Tensor, start: number, count: number): Tensor {
  if (count === x.shape[3]) return x;
  return tf.slice(x, [0, 0, 0, start], [-1, -1, -1, count]);
}

const masks = new Map<string, Tensor>();

/** [in, out] of ones where both channels are of one group, else zeros; kept for the life of the process. */
function groupMask(block: Block): Tensor {
  const key = `${block.groups}/${block.inPerGroup}/${block.outPerGroup}`;
  const known = masks.get(key);
  if (known) return known;
  const values = new Float32Array(block.in * block.out);
  for (let index = 0; index < values.length; index++) {
    const [from, to] = [Math.floor(index / block.out), index % block.out];
    if (Math.floor(from / block.inPerGroup) === Math.floor(to / block.outPerGroup)) values[index] = 1;
  }
  const mask = tf.keep(tf.tensor2d(values, [block.in, block.out]));
  masks.set(key, mask);
  return mask;
}
