import type { featuresId, inputId, LayerNode } from "../layer-graph.ts";
import { convForward } from "./convolution.ts";
import type { ConvolutionEngine } from "./grouped.ts";
import { add, type BatchStatistics, batchNormInference, batchNormTraining, matMul, maxPool, relu } from "./kernels.ts";
import type { Plan, PlannedNode } from "./plan.ts";
import { type Tensor, tf } from "./tensorflow.ts";
import { Values } from "./values.ts";
import type { Variable } from "./variable.ts";

/** What the passes need of a network. */
export interface Layers {
  readonly plan: Plan;
  readonly engine: ConvolutionEngine;
  /** The variable of a parameter. Throws for an unknown name. */
  variable(name: string): Variable;
  /** A BatchNorm has taken a batch into its running statistics. */
  countBatch(bn: string): void;
}

/** A forward pass in training, holding what backward needs. Used up by backward, or given up by dispose. */
export interface TrainingPass {
  /** [N, classes] */
  readonly logits: Tensor;
  readonly values: Values;
  readonly statistics: Map<string, BatchStatistics>;
  /** Shape of each differentiable node's input, for gradients that need nothing else of it. */
  readonly inputShapes: Map<string, number[]>;
  dispose(): void;
}

/** What a pass begins with: `x` as the output of the node `id`, which and whose predecessors are not computed. */
export interface PassInput {
  readonly x: Tensor;
  readonly id: typeof inputId | typeof featuresId;
}

/** Evaluation mode: running statistics everywhere, nothing kept. `output` is a node's id; the caller owns the result. */
export function forwardInference(layers: Layers, input: PassInput, output: string): Tensor {
  const values = new Values();
  try {
    for (const { node } of nodesFrom(layers.plan, input)) {
      const y = node.id === input.id ? input.x.clone() : tf.tidy(() => evaluate(layers, node, values));
      if (node.id === output) return y;
      values.put(node.id, y, layers.plan.forwardUses.get(node.id) ?? 0);
      if (node.id !== input.id) for (const id of node.inputs) values.release(id);
    }
  } finally {
    values.dispose();
  }
  throw new Error(`the network has no node ${output}`);
}

function nodesFrom(plan: Plan, { id }: PassInput): readonly PlannedNode[] {
  return plan.nodes.slice(plan.nodes.findIndex(({ node }) => node.id === id));
}

/** Training mode: stages that learn normalise by the batch and update their running statistics; frozen ones do not. */
export function forwardTraining(layers: Layers, input: PassInput): TrainingPass {
  const { plan } = layers;
  const values = new Values();
  const statistics = new Map<string, BatchStatistics>();
  const inputShapes = new Map<string, number[]>();
  let logits: Tensor | undefined;
  const dispose = () => {
    logits?.dispose();
    values.dispose();
    for (const tensors of statistics.values()) tf.dispose([...tensors]);
    statistics.clear();
  };
  try {
    for (const planned of nodesFrom(plan, input)) {
      const { node } = planned;
      const y = node.id === input.id ? input.x.clone() : train(layers, planned, values, statistics);
      if (planned.differentiable) inputShapes.set(node.id, values.get(node.inputs[0]!).shape);
      const uses = (plan.forwardUses.get(node.id) ?? 0) + (plan.backwardUses.get(node.id) ?? 0);
      if (node === plan.nodes.at(-1)!.node) logits = y;
      else values.put(node.id, y, uses);
      if (node.id !== input.id) for (const id of node.inputs) values.release(id);
    }
  } catch (error) {
    dispose();
    throw error;
  }
  return { logits: logits!, values, statistics, inputShapes, dispose };
}

function train(
  layers: Layers,
  { node, trains }: PlannedNode,
  values: Values,
  statistics: Map<string, BatchStatistics>,
): Tensor {
  if (node.kind !== "bn" || !trains) return tf.tidy(() => evaluate(layers, node, values));
  const mean = layers.variable(`${node.id}.running_mean`);
  const variance = layers.variable(`${node.id}.running_var`);
  const result = tf.tidy(() => {
    const inputs = batchNormInputs(layers, node);
    const { y, newMean, newVar, statistics } = batchNormTraining(values.get(node.inputs[0]!), inputs);
    mean.assign(newMean);
    variance.assign(newVar);
    return { y, statistics: [...statistics] as unknown as [Tensor, Tensor, Tensor] };
  });
  layers.countBatch(node.id);
  statistics.set(node.id, result.statistics);
  return result.y;
}

function batchNormInputs(layers: Layers, node: LayerNode) {
  return {
    weight: layers.variable(`${node.id}.weight`).read(),
    bias: layers.variable(`${node.id}.bias`).read(),
    runningMean: layers.variable(`${node.id}.running_mean`).read(),
    runningVar: layers.variable(`${node.id}.running_var`).read(),
  };
}

/** A layer in evaluation mode. Call within tf.tidy. */
function evaluate(layers: Layers, node: LayerNode, values: Values): Tensor {
  const x = values.get(node.inputs[0]!);
  switch (node.kind) {
    case "conv":
      return convForward(x, layers.variable(`${node.id}.weight`).read(), node, layers.engine);
    case "bn":
      return batchNormInference(x, batchNormInputs(layers, node));
    case "relu":
      return relu(x);
    case "add":
      return add(x, values.get(node.inputs[1]!));
    case "maxpool":
      return maxPool(x, node.kernel, node.stride, node.padding);
    case "global-avg-pool":
      return tf.mean(x, [1, 2]);
    case "fc": {
      const product = matMul(x, layers.variable(`${node.id}.weight`).read());
      return add(product, layers.variable(`${node.id}.bias`).read());
    }
    case "input":
      throw new Error("the input has no inputs to compute it from");
  }
}
