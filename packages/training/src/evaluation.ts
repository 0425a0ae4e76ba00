/** Figures of a network on labelled images, from its logits. Everything is summed in float64, in the images' order. */

/**
 * Cross entropy of each row, summed: log(sum exp(logits)) - logit of the label, with the largest logit taken out so
 * that nothing overflows. `right` counts the rows whose largest logit (the first of equals) is the label's.
 */
export function scoreLogits(logits: Float32Array, labels: readonly number[], classes: number) {
  let loss = 0;
  let right = 0;
  const predicted = labels.map((label, row) => {
    const values = logits.subarray(row * classes, (row + 1) * classes);
    const winner = argMax(values);
    let sum = 0;
    for (const value of values) sum += Math.exp(value - values[winner]!);
    loss += Math.log(sum) + values[winner]! - values[label]!;
    if (winner === label) right++;
    return winner;
  });
  return { loss, right, predicted };
}

function argMax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

/** Mean loss and share of right answers. */
export interface Evaluation {
  loss: number;
  accuracy: number;
}

/** Collects batches of logits to an evaluation. */
export class EvaluationSum {
  readonly #classes: number;
  #loss = 0;
  #right = 0;
  #images = 0;

  constructor(classes: number) {
    this.#classes = classes;
  }

  add(logits: Float32Array, labels: readonly number[]): void {
    const { loss, right } = scoreLogits(logits, labels, this.#classes);
    this.#loss += loss;
    this.#right += right;
    this.#images += labels.length;
  }

  result(): Evaluation {
    return { loss: this.#loss / this.#images, accuracy: this.#right / this.#images };
  }
}
