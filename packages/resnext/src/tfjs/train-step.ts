import { softmaxCrossEntropy } from "./loss.ts";
import type { Network } from "./network.ts";
import type { Optimizer } from "./optimizer.ts";
import { type Tensor, tf } from "./tensorflow.ts";

export interface TrainingBatch {
  /** [N, H, W, 3], normalised. */
  readonly x: Tensor;
  /** N class indices. */
  readonly labels: Int32Array;
  /** A weight for each class, as torch.nn.CrossEntropyLoss takes. */
  readonly classWeights?: Float32Array;
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
): { loss: number; correct: number } {
  const pass = network.forwardTrain(batch.x);
  try {
    const { loss, correct, dLogits } = softmaxCrossEntropy(pass.logits, batch.labels, batch.classWeights);
    try {
      if (!Number.isFinite(loss)) return { loss, correct };
      const gradients = network.backward(pass, dLogits);
      try {
        optimizer.step(gradients, learningRate);
      } finally {
        tf.dispose([...gradients.values()]);
      }
      return { loss, correct };
    } finally {
      dLogits.dispose();
    }
  } finally {
    pass.dispose();
  }
}
