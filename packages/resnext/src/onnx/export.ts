import { type Architecture, featureChannels } from "../architecture.ts";
import { type BatchNormNode, type ConvNode, featuresId, type LayerNode, layerGraph, logitsId } from "../layer-graph.ts";
import { checkParameters, floats, ParameterError, type Parameters } from "../parameters.ts";
import { foldBatchNorm } from "./fold.ts";
import { attributeType, float32, modelProto } from "./schema.ts";
import { widenGroups } from "./widen-groups.ts";

/** Pinned: every onnxruntime since 1.12 reads both. */
export const onnxOpset = 17;
export const onnxIrVersion = 8;

export interface OnnxOptions {
  /** Side of the square input in pixels; the architecture's own imageSize unless given. The batch is dynamic. */
  readonly imageSize?: number;
  /** false: only `features`, for a backbone without a head. */
  readonly includeTop?: boolean;
  /** Strings that travel in the file (metadata_props), such as the model id or the class names as JSON. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/**
 * An .onnx file of the network in evaluation mode, BatchNorm folded into the convolutions, small groups joined to wider
 * ones (widen-groups.ts).
 * Input `input` [batch, 3, imageSize, imageSize] (NCHW, normalised); outputs `logits` [batch, classes] and `features`
 * [batch, featureChannels], of which a session may fetch either or both. Float32 throughout.
 * Memory: beside the parameters, the folded weights and the file itself, each about 4 bytes a parameter.
 * Throws ParameterError when the parameters are not the architecture's, or not finite once folded.
 */
export function exportOnnx(arch: Architecture, parameters: Parameters, options: OnnxOptions = {}): Uint8Array {
  const includeTop = options.includeTop ?? true;
  const numClasses = parameters.get("fc.bias")?.data.length ?? 0;
  checkParameters(arch, numClasses, parameters, { includeTop });
  const side = options.imageSize ?? arch.imageSize;
  if (!Number.isInteger(side) || side < arch.minImageSize) {
    throw new RangeError(`${arch.name} needs images of at least ${arch.minImageSize} pixels, not ${side}`);
  }
  const graph = new GraphProto(parameters);
  const nodes = layerGraph(arch, numClasses, { includeTop });
  nodes.forEach((node, index) => {
    graph.write(node, nodes[index + 1]);
  });
  const outputs = [valueInfo("features", ["batch", featureChannels(arch)])];
  if (includeTop) outputs.unshift(valueInfo("logits", ["batch", numClasses]));
  const model = {
    ir_version: onnxIrVersion,
    producer_name: "cardinal",
    opset_import: [{ domain: "", version: onnxOpset }],
    metadata_props: Object.entries(options.metadata ?? {}).map(([key, value]) => ({ key, value })),
    graph: {
      name: arch.name,
      node: graph.nodes,
      initializer: graph.initializers,
      input: [valueInfo("input", ["batch", 3, side, side])],
      output: outputs,
    },
  };
  return modelProto.encode(model).finish();
}

function valueInfo(name: string, dims: (string | number)[]) {
  const dim = dims.map((side) => (typeof side === "string" ? { dim_param: side } : { dim_value: side }));
  return { name, type: { tensor_type: { elem_type: float32, shape: { dim } } } };
}

interface Attribute {
  name: string;
  type: number;
  i?: number;
  ints?: number[];
}

const ints = (name: string, values: number[]): Attribute => ({ name, type: attributeType.ints, ints: values });
const int = (name: string, value: number): Attribute => ({ name, type: attributeType.int, i: value });
/** ONNX orders pads as [top, left, bottom, right]. */
const square = ({ kernel, stride, padding }: { kernel: number; stride: number; padding: number }): Attribute[] => [
  ints("kernel_shape", [kernel, kernel]),
  ints("strides", [stride, stride]),
  ints("pads", [padding, padding, padding, padding]),
];

/** Collects ONNX nodes and initializers while the layer graph is walked. */
class GraphProto {
  readonly nodes: { name: string; op_type: string; input: string[]; output: string[]; attribute: Attribute[] }[] = [];
  readonly initializers: { name: string; dims: number[]; data_type: number; raw_data: Uint8Array }[] = [];
  readonly #parameters: Parameters;
  /** ONNX name of each layer's output. */
  readonly #names = new Map<string, string>();

  constructor(parameters: Parameters) {
    this.#parameters = parameters;
  }

  write(node: LayerNode, next: LayerNode | undefined): void {
    const input = node.inputs.map((id) => this.#names.get(id)!);
    switch (node.kind) {
      case "input":
        this.#names.set(node.id, "input");
        break;
      case "conv":
        if (next?.kind !== "bn") throw new Error(`${node.id} is not followed by its BatchNorm`);
        this.#conv(node, next, input);
        break;
      case "bn": // folded into the convolution before it
        this.#names.set(node.id, node.inputs[0]!);
        break;
      case "relu":
        this.#node("Relu", node.id, input);
        break;
      case "add":
        this.#node("Add", node.id, input);
        break;
      case "maxpool":
        this.#node("MaxPool", node.id, input, square(node));
        break;
      case "global-avg-pool":
        this.#node("GlobalAveragePool", node.id, input);
        this.#node("Flatten", featuresId, [featuresId], [int("axis", 1)], "features");
        break;
      case "fc":
        this.#initializer("fc.weight", [node.outFeatures, node.inFeatures], floats(this.#parameters, "fc.weight"));
        this.#initializer("fc.bias", [node.outFeatures], floats(this.#parameters, "fc.bias"));
        this.#node("Gemm", logitsId, [...input, "fc.weight", "fc.bias"], [int("transB", 1)], "logits");
        break;
    }
  }

  #conv(node: ConvNode, bn: BatchNormNode, input: string[]): void {
    const { weight: folded, bias } = foldBatchNorm(node, bn, this.#parameters);
    const { groups, weight } = widenGroups(node, folded);
    const [weightName, biasName] = [`${node.id}.weight`, `${node.id}.bias`];
    this.#initializer(weightName, [node.outChannels, node.inChannels / groups, node.kernel, node.kernel], weight);
    this.#initializer(biasName, [node.outChannels], bias);
    this.#node("Conv", node.id, [...input, weightName, biasName], [...square(node), int("group", groups)]);
  }

  #node(opType: string, id: string, input: string[], attribute: Attribute[] = [], output = id): void {
    this.nodes.push({ name: `${id}/${opType}`, op_type: opType, input, output: [output], attribute });
    this.#names.set(id, output);
  }

  #initializer(name: string, dims: number[], data: Float32Array): void {
    if (!data.every(Number.isFinite)) throw new ParameterError(`${name} holds values that are not finite`);
    const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.initializers.push({ name, dims, data_type: float32, raw_data: raw });
  }
}
