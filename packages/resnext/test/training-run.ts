/** A net, images and labels of a golden, ready to be trained, and comparisons with what PyTorch made of them. */
import assert from "node:assert/strict";
import type { Architecture, Parameters } from "@cardinal/resnext";
import {
  Network,
  type NetworkOptions,
  type Optimizer,
  softmaxCrossEntropy,
  tf,
  trainStep,
} from "@cardinal/resnext/tfjs";
import {
  type Digest,
  digestError,
  goldenImages,
  goldenLabels,
  goldenParameters,
  moveBiases,
  readGolden,
  type TinyGolden,
  type tinyNames,
  toNhwc,
} from "./golden-values.ts";

export interface RunShape {
  readonly batch: number;
  readonly side: number;
  readonly numClasses: number;
  /** See moveBiases. */
  readonly moved?: Record<string, string>;
}

/** Use with `using`. */
export function startRun(arch: Architecture, shape: RunShape, options: NetworkOptions = {}) {
  const { batch, side, numClasses } = shape;
  const parameters = goldenParameters(arch, numClasses);
  moveBiases(parameters, shape.moved ?? {});
  const network = new Network(arch, numClasses, parameters, options);
  const x = tf.tensor4d(toNhwc(goldenImages(batch, side), batch, side), [batch, side, side, 3]);
  const end = () => {
    network.dispose();
    x.dispose();
  };
  return { network, x, labels: goldenLabels(batch, numClasses), [Symbol.dispose]: end };
}

export type Run = ReturnType<typeof startRun>;

export function startTiny(name: (typeof tinyNames)[number], options?: NetworkOptions) {
  const golden = readGolden<TinyGolden>(name);
  return { golden, ...startRun(golden.architecture, golden, options) };
}

/** Forward and backward in training mode. */
export function lossAndGradients({ network, x, labels }: Run) {
  const pass = network.forwardTrain(x);
  const logits = pass.logits.dataSync() as Float32Array;
  const { loss, dLogits } = softmaxCrossEntropy(pass.logits, labels);
  const tensors = network.backward(pass, dLogits);
  const gradients = network.toParameters(tensors);
  tf.dispose([...tensors.values(), dLogits]);
  return { loss, logits, gradients };
}

export function trainSteps(run: Run, optimizer: Optimizer, steps: number, learningRate: number): void {
  for (let step = 0; step < steps; step++) trainStep(run.network, optimizer, run, learningRate);
}

export function values(parameters: Parameters, name: string): Float32Array {
  return parameters.get(name)!.data as Float32Array;
}

/** Asserts that every tensor of the golden is there and as near as allowed. */
export function acceptDigests(
  parameters: Parameters,
  golden: Record<string, Digest>,
  allowed: number,
  counts?: (name: string, position: number) => boolean,
): void {
  for (const [name, digest] of Object.entries(golden)) {
    assert.deepEqual(parameters.get(name)?.shape, digest.shape, name);
    const error = digestError(name, values(parameters, name), digest, counts && ((at) => counts(name, at)));
    assert.ok(error < allowed, `${name}: ${error}`);
  }
}
