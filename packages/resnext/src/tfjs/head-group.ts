/**
 * Heads of one optimiser side by side: one matrix product gives the logits of all of them, one op updates all of them.
 *
 * The op takes one learning rate, and each head has its own. So the variables hold a head's parameters divided by its
 * learning rate: logits = (x V + c) * rate, and a step of V by u is a step of W = rate * V by rate * u. The moments are
 * of the gradients of W, and so do not know of it.
 *
 * Lives until dispose(). Invariants: the columns of a head lie together, in the order of `heads`; nothing of a head
 * depends on what the columns of another hold, so one that is not a number leaves the others alone.
 */
import { elementCount } from "../parameters.ts";
import { type RowLosses, rowLosses } from "./loss.ts";
import type { OptimizerOptions } from "./optimizer.ts";
import { attribute, ops, type Tensor, tf } from "./tensorflow.ts";
import { Variable } from "./variable.ts";

export interface HeadOptions extends OptimizerOptions {
  /** The rate that `step`'s factor is of; from 1e-12 to 1e6, so that the quotient fits into a float. */
  readonly learningRate: number;
}

/** A part of a step's images for all heads, and how the loss takes them. */
export interface HeadBatch {
  /** [N, channels] */
  readonly x: Tensor;
  readonly labels: Int32Array;
  readonly classWeights?: Float32Array | undefined;
  readonly labelSmoothing?: number;
  /** `labelWeight` of all images of the step. */
  readonly weight: number;
}

/** By head: its part in the step's mean loss, and its right answers. */
export interface HeadFigures {
  loss: number;
  correct: number;
}

const T = [attribute.float32("T")];
const [BETA1, BETA2, EPSILON] = [0.9, 0.999, 1e-8];

type Part = "weight" | "bias";
const PARTS: readonly Part[] = ["weight", "bias"];

export class HeadGroup {
  readonly heads: readonly (HeadOptions & { readonly id: number })[];
  readonly #classes: number;
  /** `<part>` and `<moment>.<part>`, all [channels, columns] or [columns]. */
  readonly #variables = new Map<string, Variable>();
  readonly #moments: readonly string[];
  readonly #rates: Tensor;
  #gradients: Record<Part, Tensor> | undefined;

  /** Variables as `state` gives them; the heads are of one optimiser and momentum. */
  constructor(heads: HeadGroup["heads"], classes: number, state: ReadonlyMap<string, Float32Array>) {
    this.heads = heads;
    this.#classes = classes;
    this.#moments = momentsOf(heads[0]!.name);
    for (const name of namesOf(heads[0]!.name)) {
      const values = state.get(name);
      if (!values) throw new RangeError(`the state of the heads lacks ${name}`);
      const columns = heads.length * classes;
      const shape = name.endsWith("bias") ? [columns] : [values.length / columns, columns];
      if (elementCount(shape) !== values.length) throw new RangeError(`${name} has ${values.length} values`);
      this.#variables.set(name, new Variable(shape, values));
    }
    this.#rates = tf.keep(this.#perColumn(({ learningRate }) => learningRate));
  }

  /** Logits [N, heads * classes]; the caller disposes them. */
  logits(x: Tensor): Tensor {
    return tf.tidy(() => {
      const raw = tf.add(tf.matMul(x as never, this.#read("weight") as never), this.#read("bias"));
      return tf.mul(raw, this.#rates);
    });
  }

  /** Adds a batch's gradients to the step's. Gives the figures of each head, in their order. */
  add(batch: HeadBatch): HeadFigures[] {
    const { x, labels, weight } = batch;
    const count = this.heads.length;
    // Row `image * heads + head` is that image's with that head.
    const rowLabels = Int32Array.from({ length: labels.length * count }, (_, row) => labels[Math.floor(row / count)]!);
    let figures: HeadFigures[] = [];
    const gradients = tf.tidy(() => {
      const logits = tf.reshape(this.logits(x), [rowLabels.length, this.#classes]);
      const rows = rowLosses(logits, rowLabels, batch.classWeights, batch.labelSmoothing ?? 0);
      figures = headFigures(logits, rowLabels, rows, weight, count);
      const shares = tf.tensor2d(
        rows.scales.map((scale) => scale / weight),
        [rowLabels.length, 1],
      );
      const dLogits = tf.reshape(tf.mul(rows.gradient, shares), [labels.length, count * this.#classes]);
      const own = { weight: tf.matMul(x as never, dLogits as never, true) as Tensor, bias: tf.sum(dLogits, 0) };
      const former = this.#gradients;
      if (!former) return own;
      return { weight: tf.add(former.weight, own.weight), bias: tf.add(former.bias, own.bias) };
    });
    this.#dropGradients();
    for (const gradient of Object.values(gradients)) tf.keep(gradient); // callers may be in a tidy of their own
    this.#gradients = gradients;
    return figures;
  }

  /** The update that the added batches make, the `step`-th (from 1), at `factor` of each head's learning rate. */
  apply(factor: number, step: number): void {
    const gradients = this.#gradients;
    if (!gradients) throw new Error("no batch was added to the step");
    const { name } = this.heads[0]!;
    tf.tidy(() => {
      const scalars = this.#scalars(factor, step);
      for (const part of PARTS) {
        const direction = this.#decay(part, gradients[part], factor);
        const handles = [part, ...this.#moments.map((moment) => `${moment}.${part}`)].map(
          (each) => this.#variables.get(each)!.handle,
        );
        if (name === "sgd") {
          const [rate, momentum] = scalars as [Tensor, Tensor];
          ops("ResourceApplyMomentum", T, [...handles, rate, direction, momentum], 0);
        } else {
          ops("ResourceApplyAdam", T, [...handles, ...scalars, direction], 0);
        }
      }
    });
    this.#dropGradients();
  }

  /** A copy of all that `apply` changes, for the constructor. */
  state(): Map<string, Float32Array> {
    return new Map([...this.#variables].map(([name, variable]) => [name, variable.values()]));
  }

  dispose(): void {
    this.#dropGradients();
    for (const variable of this.#variables.values()) variable.dispose();
    this.#variables.clear();
    this.#rates.dispose();
  }

  #dropGradients(): void {
    if (this.#gradients) tf.dispose(Object.values(this.#gradients));
    this.#gradients = undefined;
  }

  #read(part: Part): Tensor {
    return this.#variables.get(part)!.read();
  }

  #perColumn(value: (head: HeadOptions) => number): Tensor {
    return tf.tensor1d(this.heads.flatMap((head) => new Array<number>(this.#classes).fill(value(head))));
  }

  /** As in Optimizer, whose comment says why; the rate is the factor, the same for all heads. */
  #scalars(factor: number, step: number): Tensor[] {
    const { name, momentum = 0.9 } = this.heads[0]!;
    if (name === "sgd") return [tf.scalar(factor), tf.scalar(momentum)];
    const [power1, power2] = [BETA1 ** step, BETA2 ** step];
    const scaled = EPSILON * Math.sqrt(1 - power2);
    return [power1, power2, factor, BETA1, BETA2, scaled].map((value) => tf.scalar(value));
  }

  /** The direction of the update: the gradient, with the weight decay where the optimiser adds it there. */
  #decay(part: Part, gradient: Tensor, factor: number): Tensor {
    const decays = ({ weightDecay = 0, decayNormAndBias = true }: HeadOptions) =>
      part === "bias" && !decayNormAndBias ? 0 : weightDecay;
    if (this.heads.every((head) => decays(head) === 0)) return gradient;
    const isDecoupled = this.heads[0]!.name === "adamw";
    const scale = this.#perColumn((head) => head.learningRate * decays(head) * (isDecoupled ? factor : 1));
    const decay = tf.mul(this.#read(part), scale);
    if (!isDecoupled) return tf.add(gradient, decay);
    ops("AssignSubVariableOp", [attribute.float32("dtype")], [this.#variables.get(part)!.handle, decay], 0);
    return gradient;
  }
}

function momentsOf(name: OptimizerOptions["name"]): string[] {
  return name === "sgd" ? ["momentum_buffer"] : ["exp_avg", "exp_avg_sq"];
}

/** Names in the state of a group of that optimiser. */
export function namesOf(name: OptimizerOptions["name"]): string[] {
  return ["", ...momentsOf(name).map((moment) => `${moment}.`)].flatMap((prefix) => PARTS.map((part) => prefix + part));
}

function headFigures(
  logits: Tensor,
  labels: Int32Array,
  rows: RowLosses,
  weight: number,
  heads: number,
): HeadFigures[] {
  const losses = rows.losses.dataSync<"float32">();
  const best = tf.argMax(logits, 1).dataSync();
  const figures = Array.from({ length: heads }, () => ({ loss: 0, correct: 0 }));
  labels.forEach((label, row) => {
    const figure = figures[row % heads]!;
    figure.loss += (losses[row]! * rows.scales[row]!) / weight;
    if (best[row] === label) figure.correct++;
  });
  return figures;
}
