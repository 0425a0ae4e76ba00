/**
 * A residual network as data. Every interpreter (tfjs, ONNX, reference) walks the layer graph made from this record;
 * none of them knows a variant by name.
 *
 * Sources: He et al. 2016 (arXiv 1512.03385), Xie et al. 2017 (arXiv 1611.05431), torchvision's resnet.py for names,
 * the place of the stride (on the 3x3 convolution) and the ImageNet variants.
 */
export interface Architecture {
  readonly name: string;
  /** basic: two 3x3 convolutions. bottleneck: 1x1, grouped 3x3, 1x1. */
  readonly block: "basic" | "bottleneck";
  /** 7x7-pool: 7x7 stride 2, then a 3x3 stride 2 max-pool. 3x3: one 3x3 of stride 1, for small images. */
  readonly stem: "7x7-pool" | "3x3";
  readonly stemChannels: number;
  /** Blocks in each stage. The first stage keeps the resolution, each later one halves it. */
  readonly layers: readonly number[];
  /** Block planes of each stage; a stage's output has planes * expansion channels. */
  readonly planes: readonly number[];
  readonly expansion: number;
  /** Cardinality: groups of the 3x3 convolution. 1 for the plain ResNets. */
  readonly groups: number;
  /** Channels a group has in the first stage; later stages scale it with their planes. */
  readonly widthPerGroup: number;
  /** Side in pixels of the square input that the variant is made for. */
  readonly imageSize: number;
  /** Short side in pixels to which evaluation resizes before the central crop of imageSize. */
  readonly resizeSize: number;
  /** Smallest input side that still leaves one position at the last stage. */
  readonly minImageSize: number;
}

const imagenet = {
  block: "bottleneck",
  stem: "7x7-pool",
  stemChannels: 64,
  layers: [3, 4, 6, 3],
  planes: [64, 128, 256, 512],
  expansion: 4,
  groups: 1,
  widthPerGroup: 64,
  imageSize: 224,
  resizeSize: 256,
  minImageSize: 32,
} as const;

const imagenetBasic = { ...imagenet, block: "basic", expansion: 1 } as const;
const smallImages = { block: "bottleneck", stem: "3x3", expansion: 4, minImageSize: 4 } as const;

const variants: readonly Architecture[] = [
  { ...imagenet, name: "resnext50_32x4d", groups: 32, widthPerGroup: 4 },
  { ...imagenet, name: "resnext101_32x8d", layers: [3, 4, 23, 3], groups: 32, widthPerGroup: 8 },
  { ...imagenet, name: "resnext101_64x4d", layers: [3, 4, 23, 3], groups: 64, widthPerGroup: 4 },
  // The CIFAR form of Xie et al., section 4.3: depth 29, three stages of three blocks.
  {
    ...smallImages,
    name: "resnext29_8x64d",
    stemChannels: 64,
    layers: [3, 3, 3],
    planes: [64, 128, 256],
    groups: 8,
    widthPerGroup: 64,
    imageSize: 32,
    resizeSize: 32,
  },
  // Ours, named in the same way (depth = 2 + 3 * blocks). Trains from scratch on 8,500 handwritten digits in about a
  // minute of two cores; twice and four times its width were measured and are no more accurate there.
  {
    ...smallImages,
    name: "resnext14_8x4d",
    stemChannels: 16,
    layers: [1, 2, 1],
    planes: [8, 16, 32],
    groups: 8,
    widthPerGroup: 4,
    imageSize: 28,
    resizeSize: 28,
  },
  { ...imagenetBasic, name: "resnet18", layers: [2, 2, 2, 2] },
  { ...imagenetBasic, name: "resnet34" },
  { ...imagenet, name: "resnet50" },
  { ...imagenet, name: "resnet101", layers: [3, 4, 23, 3] },
  { ...imagenet, name: "resnet152", layers: [3, 8, 36, 3] },
];

const byName = new Map(variants.map((variant) => [variant.name, variant]));

/** Names of every known variant, ResNeXts first. */
export const architectureNames: readonly string[] = variants.map((variant) => variant.name);

/** An architecture that cannot exist: an unknown name, or numbers that do not fit each other. */
export class ArchitectureError extends Error {
  override name = "ArchitectureError";
}

/** The variant of that name. Throws ArchitectureError with the known names for any other. */
export function architecture(name: string): Architecture {
  const found = byName.get(name);
  if (!found) throw new ArchitectureError(`unknown architecture "${name}"; known are ${architectureNames.join(", ")}`);
  return found;
}

/** Channels of the 3x3 convolution in a bottleneck of this stage (torchvision's `width`). */
export function bottleneckWidth(arch: Architecture, stage: number): number {
  const scale = arch.planes[stage]! / arch.planes[0]!;
  return Math.floor(arch.widthPerGroup * scale) * arch.groups;
}

/** Channels of the global average pool's output: what `features` has for each image. */
export function featureChannels(arch: Architecture): number {
  return arch.planes.at(-1)! * arch.expansion;
}

/** Names of the stages that `trainable` may begin with, input side first: conv1, layer1, ..., head. */
export function stageNames(arch: Architecture): readonly string[] {
  return ["conv1", ...arch.layers.map((_, index) => `layer${index + 1}`), "head"];
}

/** Throws ArchitectureError unless the record describes a network that can be built. */
export function checkArchitecture(arch: Architecture): void {
  const fail = (why: string): never => {
    throw new ArchitectureError(`architecture "${arch.name}": ${why}`);
  };
  const positive = { stemChannels: arch.stemChannels, expansion: arch.expansion, groups: arch.groups };
  for (const [key, value] of Object.entries({ ...positive, widthPerGroup: arch.widthPerGroup })) {
    if (!Number.isInteger(value) || value < 1) fail(`${key} must be a positive integer, not ${value}`);
  }
  if (arch.layers.length === 0 || arch.layers.length !== arch.planes.length) {
    fail(`layers has ${arch.layers.length} stages and planes ${arch.planes.length}`);
  }
  for (const count of [...arch.layers, ...arch.planes]) {
    if (!Number.isInteger(count) || count < 1) fail(`layers and planes must be positive integers, not ${count}`);
  }
  if (arch.block === "basic" && arch.groups !== 1) fail(`basic blocks have no groups, not ${arch.groups}`);
}
