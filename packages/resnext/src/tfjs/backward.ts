import type { LayerNode } from "../layer-graph.ts";
import { convFilterGradient, convInputGradient } from "./convolution.ts";
import type { Layers, TrainingPass } from "./forward.ts";
import { add, batchNormGradient, matMul, reluGradient } from "./kernels.ts";
import { maxPoolGradient } from "./max-pool.ts";
import type { PlannedNode } from "./plan.ts";
import { type Tensor, tf } from "./tensorflow.ts";
import type { Variable } from "./variable.ts";

/** Gradient of each learned parameter by its name, in the variable's layout. The owner disposes them. */
export type Gradients = Map<string, Tensor>;

/**
 * Walks the layers back from the logits, giving up every saved output after its last use. Uses up the pass.
 * dLogits stays the caller's.
 */
export function backward(layers: Layers, pass: TrainingPass, dLogits: Tensor): Gradients {
  const gradients: Gradients = new Map();
  const outputs = new OutputGradients();
  const differentiable = new Set(layers.plan.nodes.filter((planned) => planned.differentiable).map((p) => p.node.id));
  outputs.accumulate(layers.plan.nodes.at(-1)!.node.id, dLogits.clone());
  try {
    for (const planned of layers.plan.nodes.toReversed()) {
      if (!planned.differentiable) continue;
      const { node } = planned;
      const dy = outputs.take(node.id);
      const wanted = node.inputs.filter((id) => differentiable.has(id));
      if (node.kind === "add") for (const id of wanted) outputs.accumulate(id, dy.clone());
      else step(layers, pass, planned, { dy, wanted }, { gradients, outputs });
      dy.dispose();
      for (const id of planned.saved) pass.values.release(id);
      tf.dispose([...(pass.reserves.get(node.id) ?? [])]);
      pass.reserves.delete(node.id);
    }
  } catch (error) {
    tf.dispose([...gradients.values()]);
    outputs.dispose();
    throw error;
  } finally {
    pass.dispose();
  }
  return gradients;
}

/** Gradients with respect to layer outputs, summed where an output has several users. */
class OutputGradients {
  readonly #tensors = new Map<string, Tensor>();

  accumulate(id: string, gradient: Tensor): void {
    const known = this.#tensors.get(id);
    if (!known) {
      this.#tensors.set(id, gradient);
      return;
    }
    this.#tensors.set(id, add(known, gradient));
    known.dispose();
    gradient.dispose();
  }

  take(id: string): Tensor {
    const gradient = this.#tensors.get(id);
    if (!gradient) throw new Error(`no gradient has reached ${id}`);
    this.#tensors.delete(id);
    return gradient;
  }

  dispose(): void {
    tf.dispose([...this.#tensors.values()]);
  }
}

function step(
  layers: Layers,
  pass: TrainingPass,
  { node, trains }: PlannedNode,
  { dy, wanted }: { dy: Tensor; wanted: string[] },
  into: { gradients: Gradients; outputs: OutputGradients },
): void {
  const needsInput = wanted.length > 0;
  const result = tf.tidy(() => layerGradients(layers, pass, node, { dy, needsInput, needsParameters: trains }));
  for (const [suffix, gradient] of Object.entries(result.parameters)) {
    into.gradients.set(`${node.id}.${suffix}`, gradient);
  }
  if (needsInput) into.outputs.accumulate(wanted[0]!, result.dx!);
}

interface Wanted {
  readonly dy: Tensor;
  readonly needsInput: boolean;
  readonly needsParameters: boolean;
}

/** Call within tf.tidy. */
function layerGradients(
  layers: Layers,
  pass: TrainingPass,
  node: LayerNode,
  { dy, needsInput, needsParameters }: Wanted,
): { dx?: Tensor; parameters: Record<string, Tensor> } {
  const saved = (id: string) => pass.values.get(id);
  const xShape = pass.inputShapes.get(node.id)!;
  switch (node.kind) {
    case "conv": {
      const parameters: Record<string, Tensor> = {};
      if (needsParameters) parameters.weight = convFilterGradient(saved(node.inputs[0]!), dy, node, layers.engine);
      if (!needsInput) return { parameters };
      const filter = layers.variable(`${node.id}.weight`).read();
      return { dx: convInputGradient(dy, filter, node, xShape, layers.engine), parameters };
    }
    case "bn": {
      const weight = layers.variable(`${node.id}.weight`).read();
      const reserve = pass.reserves.get(node.id);
      if (!reserve) throw new Error(`${node.id} is frozen behind a layer that learns`);
      const { dx, dWeight, dBias } = batchNormGradient(dy, saved(node.inputs[0]!), weight, reserve);
      return { dx, parameters: { weight: dWeight, bias: dBias } };
    }
    case "relu":
      return { dx: reluGradient(dy, saved(node.id)), parameters: {} };
    case "maxpool": {
      const tensors = { x: saved(node.inputs[0]!), y: saved(node.id), dy, reserve: pass.reserves.get(node.id)! };
      return { dx: maxPoolGradient(tensors, node), parameters: {} };
    }
    case "global-avg-pool": {
      const [batch, height, width, channels] = xShape as [number, number, number, number];
      const share = tf.reshape(tf.mul(dy, 1 / (height * width)), [batch, 1, 1, channels]);
      return { dx: tf.tile(share, [1, height, width, 1]), parameters: {} };
    }
    case "fc":
      return fullyConnectedGradients(saved(node.inputs[0]!), dy, layers.variable("fc.weight"), needsInput);
    case "add":
    case "input":
      throw new Error(`${node.kind} has no gradients of its own`);
  }
}

function fullyConnectedGradients(x: Tensor, dy: Tensor, weight: Variable, needsInput: boolean) {
  const parameters = { weight: matMul(x, dy, { a: true }), bias: tf.sum(dy, 0) as Tensor };
  return needsInput ? { dx: matMul(dy, weight.read(), { b: true }), parameters } : { parameters };
}
