/**
 * Optimisers with PyTorch's arithmetic, updating a network's variables in place, one TensorFlow op a parameter.
 *
 * State: the number of steps done and one (SGD: momentum_buffer) or two (Adam: exp_avg, exp_avg_sq) moments for each
 * learned parameter, zero at first. state() and load() move it through checkpoints exactly.
 */
import {
  elementCount,
  floats,
  ParameterError,
  type ParameterSpec,
  type Parameters,
  type ParameterTensor,
} from "../parameters.ts";
import type { Gradients } from "./backward.ts";
import { nativeShape, toNative } from "./layout.ts";
import type { Network } from "./network.ts";
import { attribute, ops, type Tensor, tf } from "./tensorflow.ts";
import { Variable } from "./variable.ts";

export interface OptimizerOptions {
  /** adam: weight decay added to the gradient. adamw: decoupled, scaled by the learning rate. sgd: with momentum. */
  readonly name: "adam" | "adamw" | "sgd";
  /** 0 unless given. */
  readonly weightDecay?: number;
  /** Whether weight decay also takes BatchNorm's weights and all biases, as in PyTorch; true unless given. */
  readonly decayNormAndBias?: boolean;
  /** SGD's momentum; 0.9 unless given. */
  readonly momentum?: number;
  /** Adam's decay rates; 0.9 and 0.999 unless given. */
  readonly betas?: readonly [number, number];
  /** Added after the square root; 1e-8 unless given. */
  readonly epsilon?: number;
}

const T = [attribute.float32("T")];

export class Optimizer {
  readonly #network: Network;
  readonly #options: Required<OptimizerOptions>;
  /** Moments by their kind, then by the parameter's name. */
  readonly #moments: ReadonlyMap<string, Map<string, Variable>>;
  #steps = 0;

  constructor(network: Network, options: OptimizerOptions) {
    this.#network = network;
    this.#options = {
      ...{ weightDecay: 0, decayNormAndBias: true, momentum: 0.9, betas: [0.9, 0.999], epsilon: 1e-8 },
      ...options,
    };
    const kinds = options.name === "sgd" ? ["momentum_buffer"] : ["exp_avg", "exp_avg_sq"];
    const zeros = () =>
      new Map(
        network.learned.map((spec) => {
          const variable = new Variable(nativeShape(spec), new Float32Array(elementCount(spec.shape)));
          return [spec.name, variable];
        }),
      );
    this.#moments = new Map(kinds.map((kind) => [kind, zeros()]));
  }

  get steps(): number {
    return this.#steps;
  }

  /** One update of every learned parameter. The gradients stay the caller's. */
  step(gradients: Gradients, learningRate: number): void {
    this.#steps++;
    const scalars = this.#scalars(learningRate);
    for (const spec of this.#network.learned) {
      const gradient = gradients.get(spec.name);
      if (!gradient) throw new Error(`no gradient for ${spec.name}`);
      tf.tidy(() => this.#update(spec, gradient, learningRate, scalars));
    }
    tf.dispose(scalars);
  }

  /** A copy: `step` (int64) and `<kind>.<parameter>` tensors of torchvision's shapes. */
  state(): Map<string, ParameterTensor> {
    const state = new Map<string, ParameterTensor>();
    state.set("step", { shape: [], data: BigInt64Array.of(BigInt(this.#steps)) });
    for (const [kind, variables] of this.#moments) {
      for (const [name, tensor] of this.#network.toParameters(variables)) state.set(`${kind}.${name}`, tensor);
    }
    return state;
  }

  /** Takes over a state() of the same kind for the same network. Throws ParameterError, changing nothing, otherwise. */
  load(state: Parameters): void {
    const steps = state.get("step")?.data;
    if (!(steps instanceof BigInt64Array)) throw new ParameterError("the optimiser's state has no int64 step");
    const writes: (() => void)[] = [];
    for (const [kind, variables] of this.#moments) {
      for (const spec of this.#network.learned) {
        const values = floats(state, `${kind}.${spec.name}`);
        const expected = elementCount(spec.shape);
        if (values.length !== expected) {
          throw new ParameterError(`${kind}.${spec.name} has ${values.length} values, needs ${expected}`);
        }
        writes.push(() => variables.get(spec.name)!.write(toNative(spec, values)));
      }
    }
    for (const write of writes) write();
    this.#steps = Number(steps[0]);
  }

  dispose(): void {
    for (const variables of this.#moments.values()) {
      for (const variable of variables.values()) variable.dispose();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The op's scalar inputs, the same for every parameter of a step. */
  #scalars(learningRate: number): Tensor[] {
    const { name, betas, epsilon, momentum } = this.#options;
    if (name === "sgd") return [tf.scalar(learningRate), tf.scalar(momentum)];
    const [power1, power2] = [betas[0] ** this.#steps, betas[1] ** this.#steps];
    // TensorFlow steps by lr sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + e), PyTorch by
    // lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + epsilon): the same for e = epsilon sqrt(1 - b2^t).
    const scaled = epsilon * Math.sqrt(1 - power2);
    return [power1, power2, learningRate, betas[0], betas[1], scaled].map((value) => tf.scalar(value));
  }

  #weightDecay({ kind }: ParameterSpec): number {
    const { weightDecay, decayNormAndBias } = this.#options;
    return decayNormAndBias || kind === "conv weight" || kind === "fc weight" ? weightDecay : 0;
  }

  #update(spec: ParameterSpec, gradient: Tensor, learningRate: number, scalars: Tensor[]): void {
    const variable = this.#network.variable(spec.name);
    const weightDecay = this.#weightDecay(spec);
    let direction = gradient;
    if (weightDecay !== 0 && this.#options.name === "adamw") {
      const decay = tf.mul(variable.read(), learningRate * weightDecay);
      ops("AssignSubVariableOp", [attribute.float32("dtype")], [variable.handle, decay], 0);
    } else if (weightDecay !== 0) {
      direction = tf.add(gradient, tf.mul(variable.read(), weightDecay));
    }
    const moments = [...this.#moments.values()].map((variables) => variables.get(spec.name)!.handle);
    if (this.#options.name === "sgd") {
      const [rate, momentum] = scalars as [Tensor, Tensor];
      ops("ResourceApplyMomentum", T, [variable.handle, ...moments, rate, direction, momentum], 0);
    } else {
      ops("ResourceApplyAdam", T, [variable.handle, ...moments, ...scalars, direction], 0);
    }
  }
}
