import { attribute, ops, type Tensor, tf } from "./tensorflow.ts";

export interface Loss {
  /** Mean cross entropy over the batch in nats; not finite when the logits are not. */
  readonly loss: number;
  /** How many labels are the index of the largest logit (the first of equals). */
  readonly correct: number;
  /** Gradient of the mean loss with respect to the logits, [N, classes]; the caller disposes it. */
  readonly dLogits: Tensor;
}

/**
 * Softmax cross entropy as torch.nn.CrossEntropyLoss: the mean over the batch, weighted where classWeights are given
 * (sum of weight times loss over the sum of the weights). Labels are class indices, one for each row of logits.
 * Throws RangeError for a label that is no class.
 */
export function softmaxCrossEntropy(logits: Tensor, labels: Int32Array, classWeights?: Float32Array): Loss {
  const [batch, classes] = logits.shape as [number, number];
  if (labels.length !== batch) throw new RangeError(`${labels.length} labels for ${batch} rows of logits`);
  const wrong = labels.find((label) => label < 0 || label >= classes);
  if (wrong !== undefined) throw new RangeError(`label ${wrong} is none of ${classes} classes`);
  if (classWeights && classWeights.length !== classes) {
    throw new RangeError(`${classWeights.length} class weights for ${classes} classes`);
  }
  const weights = Float32Array.from(labels, (label) => classWeights?.[label] ?? 1);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return tf.tidy(() => {
    const attributes = [attribute.float32("T"), attribute.int32("Tlabels")];
    const inputs = [logits, tf.tensor1d(labels, "int32")];
    const [losses, gradient] = ops("SparseSoftmaxCrossEntropyWithLogits", attributes, inputs, 2);
    const shares = tf.tensor2d(
      weights.map((weight) => weight / total),
      [batch, 1],
    );
    const perRow = losses!.dataSync<"float32">();
    const loss = perRow.reduce((sum, value, row) => sum + (value * weights[row]!) / total, 0);
    return { loss, correct: countCorrect(logits, labels), dLogits: tf.mul(gradient!, shares) };
  });
}

/** How many labels are the index of the largest logit of their row. */
export function countCorrect(logits: Tensor, labels: Int32Array): number {
  const best = tf.tidy(() => tf.argMax(logits, 1).dataSync());
  return labels.reduce((sum, label, row) => sum + (best[row] === label ? 1 : 0), 0);
}
