import type { Gradients } from "./backward.ts";
import { softmaxCrossEntropy } from "./loss.ts";
import type { Network } from "./network.ts";
import type { Optimizer } from "./optimizer.ts";
import { type Tensor, tf } from "./tensorflow.ts";

export interface TrainingBatch {
  /** Images [N, H, W, 3], normalised, or features [N, channels] where only the head learns. */
  readonly x: Tensor;
  /** N class indices. */
  readonly labels: Int32Array;
  /** A weight for each class, and the share of the target that is spread, as torch.nn.CrossEntropyLoss takes them. */
  readonly classWeights?: Float32Array;
  readonly labelSmoothing?: number;
}

export interface StepResult {
  /** Mean over the batch; over all of them where gradients were accumulated. */
  readonly loss: number;
  readonly correct: number;
}

/**
 * Forward, loss, backward, and an update unless the loss is not finite: then the parameters are left as they were,
 * for the caller to see the loss and stop (running statistics have taken in the batch by then).
 * Throws RangeError for wrong labels.
 */
export function trainStep(
  network: Network,
  optimizer: Optimizer,
  batch: TrainingBatch,
  learningRate: number,
): StepResult {
  using sum = new GradientSum(network);
  sum.add(batch);
  return sum.apply(optimizer, learningRate);
}

/**
 * Gradients of one update, from one batch or several. The update is that of the mean loss over all their images, each
 * with its weight; only BatchNorm sees the batches apart.
 *
 * States: adding (no batch or more), then applied or disposed. Invariant: it owns the gradients it has summed.
 */
export class GradientSum implements Disposable {
  readonly #network: Network;
  /** Of the mean loss of the only batch; of the sum of weight times loss from the second batch on. */
  #gradients: Gradients = new Map();
  #batches = 0;
  #weight = 0;
  #lossSum = 0;
  #correct = 0;

  constructor(network: Network) {
    this.#network = network;
  }

  /** Forward, loss and backward. After a loss that is not finite, apply updates nothing. */
  add({ x, labels, classWeights, labelSmoothing }: TrainingBatch): StepResult {
    const pass = this.#network.forwardTrain(x);
    try {
      const { loss, correct, weight, dLogits } = softmaxCrossEntropy(pass.logits, labels, classWeights, labelSmoothing);
      try {
        if (Number.isFinite(loss + this.#lossSum)) this.#accumulate(this.#network.backward(pass, dLogits), weight);
      } finally {
        dLogits.dispose();
      }
      this.#lossSum += loss * weight;
      this.#correct += correct;
      this.#weight += weight;
      this.#batches++;
      return { loss, correct };
    } finally {
      pass.dispose();
    }
  }

  apply(optimizer: Optimizer, learningRate: number): StepResult {
    const result = { loss: this.#lossSum / this.#weight, correct: this.#correct };
    if (!Number.isFinite(result.loss)) return result;
    if (this.#batches > 1) this.#scale(1 / this.#weight);
    optimizer.step(this.#gradients, learningRate);
    return result;
  }

  [Symbol.dispose](): void {
    tf.dispose([...this.#gradients.values()]);
    this.#gradients.clear();
  }

  /** A single batch's gradients stay as they are, so that one batch costs nothing more and changes no bit. */
  #accumulate(gradients: Gradients, weight: number): void {
    if (this.#batches === 0) {
      this.#gradients = gradients;
      return;
    }
    if (this.#batches === 1) this.#scale(this.#weight);
    for (const [name, gradient] of gradients) {
      const former = this.#gradients.get(name)!;
      this.#gradients.set(
        name,
        tf.tidy(() => tf.add(former, tf.mul(gradient, weight))),
      );
      tf.dispose([former, gradient]);
    }
  }

  #scale(factor: number): void {
    for (const [name, gradient] of this.#gradients) {
      this.#gradients.set(name, tf.mul(gradient, factor));
      gradient.dispose();
    }
  }
}
