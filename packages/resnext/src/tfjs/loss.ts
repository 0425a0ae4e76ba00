import { attribute, ops, type Tensor, tf } from "./tensorflow.ts";

export interface Loss {
  /** Mean cross entropy over the batch in nats; not finite when the logits are not. */
  readonly loss: number;
  /** How many labels are the index of the largest logit (the first of equals). */
  readonly correct: number;
  /** What the batch counts in a mean over several: the sum of its labels' weights. */
  readonly weight: number;
  /** Gradient of the mean loss with respect to the logits, [N, classes]; the caller disposes it. */
  readonly dLogits: Tensor;
}

/**
 * Softmax cross entropy as torch.nn.CrossEntropyLoss: the mean over the batch, weighted where classWeights are given
 * (sum of weight times loss over the sum of the weights), with labelSmoothing (from 0 to 1) of the target spread over
 * all classes. Labels are class indices, one for each row of logits.
 * Throws RangeError for a label that is no class.
 */
export function softmaxCrossEntropy(
  logits: Tensor,
  labels: Int32Array,
  classWeights?: Float32Array,
  labelSmoothing = 0,
): Loss {
  const [batch, classes] = logits.shape as [number, number];
  if (labels.length !== batch) throw new RangeError(`${labels.length} labels for ${batch} rows of logits`);
  const wrong = labels.find((label) => label < 0 || label >= classes);
  if (wrong !== undefined) throw new RangeError(`label ${wrong} is none of ${classes} classes`);
  if (classWeights && classWeights.length !== classes) {
    throw new RangeError(`${classWeights.length} class weights for ${classes} classes`);
  }
  const weight = labelWeight(labels, classWeights);
  return tf.tidy(() => {
    const rows = rowLosses(logits, labels, classWeights, labelSmoothing);
    const shares = rows.scales.map((scale) => scale / weight);
    const perRow = rows.losses.dataSync<"float32">();
    const loss = perRow.reduce((sum, value, row) => sum + (value * rows.scales[row]!) / weight, 0);
    const dLogits = tf.mul(rows.gradient, tf.tensor2d(shares, [batch, 1]));
    return { loss, correct: countCorrect(logits, labels), weight, dLogits };
  });
}

/** What labels count in a mean of losses: the sum of their classes' weights, 1 each unless given. */
export function labelWeight(labels: Int32Array, classWeights?: Float32Array): number {
  return labels.reduce((sum, label) => sum + (classWeights?.[label] ?? 1), 0);
}

export interface RowLosses {
  /** [N]: of each row, before it is scaled. */
  losses: Tensor;
  /** [N, classes]: with respect to the row's logits, of the loss before it is scaled. */
  gradient: Tensor;
  /** A row's part in the sum of weighted losses is its loss times this. */
  scales: Float32Array;
}

/** Loss and gradient of each row by itself: a row that is not finite spoils no other. Call it within tf.tidy. */
export function rowLosses(
  logits: Tensor,
  labels: Int32Array,
  classWeights: Float32Array | undefined,
  labelSmoothing: number,
): RowLosses {
  if (labelSmoothing === 0) {
    return { ...sparseRows(logits, labels), scales: Float32Array.from(labels, (label) => classWeights?.[label] ?? 1) };
  }
  const classes = logits.shape[1]!;
  return smoothedRows(logits, labels, classWeights ?? new Float32Array(classes).fill(1), labelSmoothing);
}

/** Cross entropy of each row with its label, and its gradient. */
function sparseRows(logits: Tensor, labels: Int32Array): { losses: Tensor; gradient: Tensor } {
  const attributes = [attribute.float32("T"), attribute.int32("Tlabels")];
  const inputs = [logits, tf.tensor1d(labels, "int32")];
  const [losses, gradient] = ops("SparseSoftmaxCrossEntropyWithLogits", attributes, inputs, 2);
  return { losses: losses!, gradient: gradient! };
}

/**
 * PyTorch's smoothed loss of a row is -sum_c t_c log p_c with t_c = (1 - e) w_y [c = y] + e w_c / classes. TensorFlow's
 * op wants targets that sum to 1, so it gets t over its sum, and the row is scaled by that sum.
 */
function smoothedRows(logits: Tensor, labels: Int32Array, classWeights: Float32Array, smoothing: number) {
  const classes = classWeights.length;
  const spread = classWeights.map((weight) => (smoothing * weight) / classes);
  const spreadSum = spread.reduce((sum, value) => sum + value, 0);
  const scales = Float32Array.from(labels, (label) => (1 - smoothing) * classWeights[label]! + spreadSum);
  const targets = new Float32Array(labels.length * classes);
  labels.forEach((label, row) => {
    for (let at = 0; at < classes; at++) {
      const own = at === label ? (1 - smoothing) * classWeights[label]! : 0;
      targets[row * classes + at] = (own + spread[at]!) / scales[row]!;
    }
  });
  const inputs = [logits, tf.tensor2d(targets, [labels.length, classes])];
  const [losses, gradient] = ops("SoftmaxCrossEntropyWithLogits", [attribute.float32("T")], inputs, 2);
  return { losses: losses!, gradient: gradient!, scales };
}

/** How many labels are the index of the largest logit of their row. */
export function countCorrect(logits: Tensor, labels: Int32Array): number {
  const best = tf.tidy(() => tf.argMax(logits, 1).dataSync());
  return labels.reduce((sum, label, row) => sum + (best[row] === label ? 1 : 0), 0);
}
