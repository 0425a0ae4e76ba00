/**
 * Grouped convolution, which tfjs does not have. Two forms, chosen once per process by a probe:
 *
 * - native: TensorFlow's own Conv2D with a grouped filter (CPU kernel of libtensorflow, 3 to 6 times faster).
 * - split: ordinary convolutions of blocks of at least 32 channels, their filters filled up with zeros outside of the
 *   groups. For a libtensorflow whose CPU kernel refuses grouped filters.
 *
 * The filter's gradient has no grouped kernel in either: it is made of dense blocks, of which the diagonal is kept, or
 * (native, stride 1) as one grouped convolution. Measured with AVX-512, ms of CPU time for 16 images:
 *
 *   layer (dy)           blocks of 16, of 32, of 64   as a convolution
 *   56x56x128, stride 1            51     52     96                123
 *   28x28x256, stride 1            24     28     43                 35
 *   14x14x512, stride 1            13     11     19                  9
 *   7x7x1024, stride 1              -    7.2    9.8                  6
 *   28x28x256, stride 2            38     33     55
 *   14x14x512, stride 2            20     17     24
 *   7x7x1024, stride 2              -    8.9     13
 *
 * With stride 2 the convolution works on as many zeros again as it saves: 2.5 times slower than blocks of 32.
 */
import type { ConvNode } from "../layer-graph.ts";
import { conv2d, conv2dFilterGradient, type Pads, samePads, split } from "./kernels.ts";
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
  const { groups, stride, pads } = shape;
  if (engine === "native") return conv2d(x, filter, stride, pads);
  const [, , inPerGroup, out] = filter.shape as [number, number, number, number];
  const block = blockOf(groups, { inPerGroup, outPerGroup: out / groups }, 32);
  const dense = split(tf.mul(tf.tile(filter, [1, 1, block.groups, 1]), groupMask(block)), block.count);
  const parts = split(x, block.count).map((channels, index) => conv2d(channels, dense[index]!, stride, pads));
  return tf.concat(parts, 3);
}

/** Gradient of a grouped convolution with respect to its filter [k, k, in / groups, out]. */
export function groupedFilterGradient(x: Tensor, dy: Tensor, node: ConvNode, engine: ConvolutionEngine): Tensor {
  const positions = dy.shape[1]! * dy.shape[2]!;
  if (engine === "split") return filterGradientInBlocks(x, dy, node, 32);
  if (node.stride === 1 && positions <= 14 * 14) return filterGradientAsConvolution(x, dy, node);
  return filterGradientInBlocks(x, dy, node, node.stride === 1 ? 16 : 32);
}

/** Dense gradients of blocks of whole groups, of which the diagonal is kept. */
function filterGradientInBlocks(x: Tensor, dy: Tensor, node: ConvNode, width: number): Tensor {
  const { kernel, groups, inChannels, outChannels, stride } = node;
  const inPerGroup = inChannels / groups;
  const block = blockOf(groups, { inPerGroup, outPerGroup: outChannels / groups }, width);
  const shape = [kernel, kernel, block.in, block.out];
  const dys = split(dy, block.count);
  const parts = split(x, block.count).map((channels, index) => {
    return conv2dFilterGradient(channels, shape, dys[index]!, stride, samePads(node.padding));
  });
  const diagonal = tf.mul(tf.concat(parts, 3), groupMask(block));
  return tf.sum(tf.reshape(diagonal, [kernel, kernel, block.groups, inPerGroup, outChannels]), 2);
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
  /** How many blocks there are, and the whole groups in one. */
  readonly count: number;
  readonly groups: number;
  readonly inPerGroup: number;
  readonly outPerGroup: number;
  /** Channels of a block on either side. */
  readonly in: number;
  readonly out: number;
}

/** The fewest whole groups that have at least `width` output channels and divide all groups evenly. */
function blockOf(groups: number, perGroup: { inPerGroup: number; outPerGroup: number }, width: number): Block {
  let inBlock = 1;
  while (inBlock < groups && (inBlock * perGroup.outPerGroup < width || groups % inBlock !== 0)) inBlock++;
  const { inPerGroup, outPerGroup } = perGroup;
  return {
    count: groups / inBlock,
    groups: inBlock,
    inPerGroup,
    outPerGroup,
    in: inBlock * inPerGroup,
    out: inBlock * outPerGroup,
  };
}

const masks = new Map<string, Tensor>();

/** [in of a block, out of all] of ones where both channels are of one group, else zeros; kept for the process's life. */
function groupMask(block: Block): Tensor {
  const key = `${block.count}/${block.groups}/${block.inPerGroup}/${block.outPerGroup}`;
  const known = masks.get(key);
  if (known) return known;
  const out = block.count * block.out;
  const values = new Float32Array(block.in * out);
  for (let index = 0; index < values.length; index++) {
    const [from, to] = [Math.floor(index / out), (index % out) % block.out];
    if (Math.floor(from / block.inPerGroup) === Math.floor(to / block.outPerGroup)) values[index] = 1;
  }
  const mask = tf.keep(tf.tensor2d(values, [block.in, out]));
  masks.set(key, mask);
  return mask;
}
