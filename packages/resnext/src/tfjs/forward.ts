import type { BatchNormNode, featuresId, inputId, LayerNode } from "../layer-graph.ts";
import { convForward } from "./convolution.ts";
import type { ConvolutionEngine } from "./grouped.ts";
import { add, batchNormInference, batchNormTraining, matMul, maxPool, relu } from "./kernels.ts";
import { maxPoolForm, maxPoolTraining } from "./max-pool.ts";
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

export type Reserves = Map<string, readonly Tensor[]>;

/** A forward pass in training, holding what backward needs. Used up by backward, or given up by dispose. */
export interface TrainingPass {
  /** [N, classes] */
  readonly logits: Tensor;
  readonly values: Values;
  /** What a layer's backward step takes of its forward step besides layer outputs, by node. */
  readonly reserves: Reserves;
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
  const reserves: Reserves = new Map();
  const inputShapes = new Map<string, number[]>();
  let logits: Tensor | undefined;
  const dispose = () => {
    logits?.dispose();
    values.dispose();
    for (const tensors of reserves.values()) tf.dispose([...tensors]);
    reserves.clear();
  };
  try {
    for (const planned of nodesFrom(plan, input)) {
      const { node } = planned;
      const y = node.id === input.id ? input.x.clone() : train(layers, planned, values, reserves);
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
  return { logits: logits!, values, reserves, inputShapes, dispose };
}

/** A layer in training mode; keeps its reserve where there will be a backward step. */
function train(layers: Layers, { node, trains, differentiable }: PlannedNode, values: Values, reserves: Reserves) {
  if (node.kind === "bn" && trains) return trainBatchNorm(layers, node, values, reserves);
  if (node.kind !== "maxpool" || !differentiable) return tf.tidy(() => evaluate(layers, node, values));
  const { y, reserve } = tf.tidy(() => maxPoolTraining(values.get(node.inputs[0]!), node, maxPoolForm()));
  reserves.set(node.id, reserve);
  return y;
}

function trainBatchNorm(layers: Layers, node: BatchNormNode, values: Values, reserves: Reserves): Tensor {
  const mean = layers.variable(`${node.id}.running_mean`);
  const variance = layers.variable(`${node.id}.running_var`);
  const result = tf.tidy(() => {
    const inputs = batchNormInputs(layers, node);
    const { y, newMean, newVar, reserve } = batchNormTraining(values.get(node.inputs[0]!), inputs);
    mean.assign(newMean);
    variance.assign(newVar);
    return { y, reserve };
  });
  layers.countBatch(node.id);
  reserves.set(node.id, result.reserve);
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
      return maxPool(x, node);
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
