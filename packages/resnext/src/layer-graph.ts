import { type Architecture, bottleneckWidth, checkArchitecture, featureChannels } from "./architecture.ts";

interface NodeBase {
  /** Unique; for a layer with parameters the torchvision prefix of their names, such as `layer1.0.conv2`. */
  readonly id: string;
  /** Ids of the nodes whose outputs this one takes. */
  readonly inputs: readonly string[];
  /** conv1, layer1, ..., head: the unit of freezing. */
  readonly stage: string;
}

export interface ConvNode extends NodeBase {
  readonly kind: "conv";
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernel: number;
  readonly stride: number;
  /** Zeros added on all four sides. */
  readonly padding: number;
  readonly groups: number;
}

export interface BatchNormNode extends NodeBase {
  readonly kind: "bn";
  readonly channels: number;
}

export interface MaxPoolNode extends NodeBase {
  readonly kind: "maxpool";
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
}

export interface FullyConnectedNode extends NodeBase {
  readonly kind: "fc";
  readonly inFeatures: number;
  readonly outFeatures: number;
}

export interface PlainNode extends NodeBase {
  readonly kind: "input" | "relu" | "add" | "global-avg-pool";
}

export type LayerNode = ConvNode | BatchNormNode | MaxPoolNode | FullyConnectedNode | PlainNode;

/** PyTorch's defaults, which every checkpoint of torchvision was trained with. */
export const batchNormEpsilon = 1e-5;
export const batchNormMomentum = 0.1;

/** Ids of the nodes that interpreters give back. */
export const inputId = "input";
export const featuresId = "avgpool";
export const logitsId = "fc";

/**
 * The network as nodes in an order in which every input precedes its users; the last one is `fc` (logits), or with
 * `includeTop: false` `avgpool` (features). Parameters met in this order are in torchvision's state_dict order.
 * Throws ArchitectureError for a record that describes no network.
 */
export function layerGraph(
  arch: Architecture,
  numClasses: number,
  options: { includeTop?: boolean } = {},
): LayerNode[] {
  checkArchitecture(arch);
  const graph = new GraphWriter();
  let last = stem(graph, arch);
  let channels = arch.stemChannels;
  arch.layers.forEach((blocks, stage) => {
    for (let index = 0; index < blocks; index++) {
      const stride = index === 0 && stage > 0 ? 2 : 1;
      last = block(graph, arch, { stage, index, stride, input: last, inChannels: channels });
      channels = arch.planes[stage]! * arch.expansion;
    }
  });
  graph.stage = "head";
  last = graph.add({ kind: "global-avg-pool", id: featuresId, inputs: [last] });
  if (options.includeTop !== false) {
    if (!Number.isInteger(numClasses) || numClasses < 1)
      throw new RangeError(`numClasses must be >= 1, not ${numClasses}`);
    graph.add({ kind: "fc", id: logitsId, inputs: [last], inFeatures: featureChannels(arch), outFeatures: numClasses });
  }
  return graph.nodes;
}

type WithoutStage<T> = T extends LayerNode ? Omit<T, "stage"> : never;

class GraphWriter {
  readonly nodes: LayerNode[] = [];
  stage = "conv1";

  add(node: WithoutStage<LayerNode>): string {
    this.nodes.push({ ...node, stage: this.stage } as LayerNode);
    return node.id;
  }

  conv(
    id: string,
    input: string,
    shape: Pick<ConvNode, "inChannels" | "outChannels" | "kernel" | "stride" | "groups">,
  ) {
    return this.add({ kind: "conv", id, inputs: [input], padding: (shape.kernel - 1) / 2, ...shape });
  }

  bn(id: string, input: string, channels: number): string {
    return this.add({ kind: "bn", id, inputs: [input], channels });
  }

  relu(id: string, input: string): string {
    return this.add({ kind: "relu", id, inputs: [input] });
  }
}

function stem(graph: GraphWriter, arch: Architecture): string {
  graph.add({ kind: "input", id: inputId, inputs: [] });
  const seven = arch.stem === "7x7-pool";
  const shape = { inChannels: 3, outChannels: arch.stemChannels, groups: 1 };
  const conv = graph.conv("conv1", inputId, { ...shape, kernel: seven ? 7 : 3, stride: seven ? 2 : 1 });
  const relu = graph.relu("relu", graph.bn("bn1", conv, arch.stemChannels));
  if (!seven) return relu;
  return graph.add({ kind: "maxpool", id: "maxpool", inputs: [relu], kernel: 3, stride: 2, padding: 1 });
}

interface BlockPlace {
  stage: number;
  index: number;
  stride: number;
  input: string;
  inChannels: number;
}

function block(graph: GraphWriter, arch: Architecture, place: BlockPlace): string {
  graph.stage = `layer${place.stage + 1}`;
  const at = `${graph.stage}.${place.index}`;
  const { input, inChannels, stride } = place;
  const planes = arch.planes[place.stage]!;
  const outChannels = planes * arch.expansion;
  const convs =
    arch.block === "basic"
      ? [
          { inChannels, outChannels: planes, kernel: 3, stride, groups: 1 },
          { inChannels: planes, outChannels, kernel: 3, stride: 1, groups: 1 },
        ]
      : bottleneckConvs(inChannels, bottleneckWidth(arch, place.stage), outChannels, stride, arch.groups);
  let last = input;
  convs.forEach((shape, index) => {
    const conv = graph.conv(`${at}.conv${index + 1}`, last, shape);
    last = graph.bn(`${at}.bn${index + 1}`, conv, shape.outChannels);
    if (index < convs.length - 1) last = graph.relu(`${at}.relu${index + 1}`, last);
  });
  let shortcut = input;
  if (stride !== 1 || inChannels !== outChannels) {
    const shape = { inChannels, outChannels, kernel: 1, stride, groups: 1 };
    shortcut = graph.bn(`${at}.downsample.1`, graph.conv(`${at}.downsample.0`, input, shape), outChannels);
  }
  return graph.relu(`${at}.relu`, graph.add({ kind: "add", id: `${at}.add`, inputs: [last, shortcut] }));
}

function bottleneckConvs(inChannels: number, width: number, outChannels: number, stride: number, groups: number) {
  return [
    { inChannels, outChannels: width, kernel: 1, stride: 1, groups: 1 },
    { inChannels: width, outChannels: width, kernel: 3, stride, groups },
    { inChannels: width, outChannels, kernel: 1, stride: 1, groups: 1 },
  ];
}
