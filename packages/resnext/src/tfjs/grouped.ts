/**
 * Grouped convolution, which tfjs does not have. Two forms, chosen once per process by a probe:
 *
 * - native: TensorFlow's own ops with a grouped filter, which oneDNN takes. Groups of fewer channels than a vector
 *   register has floats are joined for the filter's gradient, of which the diagonal is kept: 56x56x128 for 16 images
 *   takes 9 ms in groups of 16 and 16 ms in groups of 4 (2 cores, AVX-512), 28x28x256 4 and 5.
 * - split: ordinary convolutions of blocks of at least 32 channels, their filters filled up with zeros outside of the
 *   groups. For a libtensorflow whose CPU kernels refuse grouped filters.
 */
import type { ConvNode } from "../layer-graph.ts";
import { conv2d, conv2dFilterGradient, conv2dInputGradient, split } from "./kernels.ts";
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
    // Two groups of one channel, one position: y = x * filter, dx = dy * filter, dFilter = x * dy.
    const window = { kernel: 1, stride: 1, padding: 0 };
    const tensor = (first: number, second: number) => tf.tensor4d([first, second], [1, 1, 1, 2]);
    const [x, filter, dy] = [tensor(1, 2), tensor(3, 5), tensor(7, 11)];
    try {
      const y = conv2d(x, filter, window).dataSync();
      const dx = conv2dInputGradient(dy, filter, x.shape, window).dataSync();
      const dFilter = conv2dFilterGradient(x, filter.shape, dy, window).dataSync();
      return `${y} ${dx} ${dFilter}` === "3,10 21,55 7,22" ? "native" : "split";
    } catch {
      return "split";
    }
  });
}

/** Filter [k, k, in / groups, out]. */
export function groupedConv2d(x: Tensor, filter: Tensor, node: ConvNode, engine: ConvolutionEngine): Tensor {
  if (engine === "native") return conv2d(x, filter, node);
  const block = blockOf(node, SPLIT_WIDTH);
  const filters = denseFilters(filter, block);
  const parts = split(x, block.count).map((channels, index) => conv2d(channels, filters[index]!, node));
  return tf.concat(parts, 3);
}

/** Gradient of a grouped convolution with respect to its input [N, H, W, in]. */
export function groupedInputGradient(
  dy: Tensor,
  filter: Tensor,
  xShape: number[],
  node: ConvNode,
  engine: ConvolutionEngine,
): Tensor {
  if (engine === "native") return conv2dInputGradient(dy, filter, xShape, node);
  const block = blockOf(node, SPLIT_WIDTH);
  const filters = denseFilters(filter, block);
  const shape = [...xShape.slice(0, 3), block.in];
  const parts = split(dy, block.count).map((part, index) => conv2dInputGradient(part, filters[index]!, shape, node));
  return tf.concat(parts, 3);
}

/** Gradient of a grouped convolution with respect to its filter [k, k, in / groups, out]. */
export function groupedFilterGradient(x: Tensor, dy: Tensor, node: ConvNode, engine: ConvolutionEngine): Tensor {
  const { kernel, outChannels } = node;
  if (engine === "native") {
    const block = blockOf(node, VECTOR_WIDTH);
    return diagonal(conv2dFilterGradient(x, [kernel, kernel, block.in, outChannels], dy, node), block);
  }
  const block = blockOf(node, SPLIT_WIDTH);
  const shape = [kernel, kernel, block.in, block.out];
  const dys = split(dy, block.count);
  const parts = split(x, block.count).map((part, index) => conv2dFilterGradient(part, shape, dys[index]!, node));
  return diagonal(tf.concat(parts, 3), block);
}

/** Channels of a block at least: of a joined group, floats in a register of AVX-512; in the split form, by measurement. */
const [VECTOR_WIDTH, SPLIT_WIDTH] = [16, 32];

/** The filter of each block: that of its groups, and zeros between channels of different groups. */
function denseFilters(filter: Tensor, block: Block): Tensor[] {
  return split(tf.mul(tf.tile(filter, [1, 1, block.groups, 1]), groupMask(block)), block.count);
}

/** Of a gradient [k, k, in of a block, out] what lies within groups: [k, k, in / groups, out]. */
function diagonal(gradient: Tensor, block: Block): Tensor {
  if (block.groups === 1) return gradient;
  const [kernel, , , out] = gradient.shape as [number, number, number, number];
  const masked = tf.mul(gradient, groupMask(block));
  return tf.sum(tf.reshape(masked, [kernel, kernel, block.groups, block.inPerGroup, out]), 2);
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
function blockOf({ groups, inChannels, outChannels }: ConvNode, width: number): Block {
  const [inPerGroup, outPerGroup] = [inChannels / groups, outChannels / groups];
  let inBlock = 1;
  while (inBlock < groups && (inBlock * outPerGroup < width || groups % inBlock !== 0)) inBlock++;
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
