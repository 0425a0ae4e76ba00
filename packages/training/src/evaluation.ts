/** Figures of a network on labelled images, from its logits. Everything is summed in float64, in the images' order. */
import type { ModelReport } from "@cardinal/contracts";

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

/** Mean loss, share of right answers, and the confusion matrix: rows are true classes, columns predicted ones. */
export interface Evaluation {
  loss: number;
  accuracy: number;
  confusion: number[][];
}

/** Collects batches of logits to an evaluation. */
export class EvaluationSum {
  readonly #confusion: number[][];
  #loss = 0;
  #right = 0;
  #images = 0;

  constructor(classes: number) {
    this.#confusion = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  }

  add(logits: Float32Array, labels: readonly number[]): void {
    const { loss, right, predicted } = scoreLogits(logits, labels, this.#confusion.length);
    this.#loss += loss;
    this.#right += right;
    this.#images += labels.length;
    labels.forEach((label, row) => {
      this.#confusion[label]![predicted[row]!]! += 1;
    });
  }

  result(): Evaluation {
    return { loss: this.#loss / this.#images, accuracy: this.#right / this.#images, confusion: this.#confusion };
  }
}

/**
 * Precision (right answers over answers), recall (right answers over images) and F1 (their harmonic mean) of every
 * class. What has no denominator is 0, as scikit-learn's `zero_division` default has it.
 */
export function classFigures(classes: readonly string[], confusion: number[][]): ModelReport["classes"] {
  const over = (part: number, whole: number) => (whole === 0 ? 0 : part / whole);
  return classes.map((name, index) => {
    const right = confusion[index]![index]!;
    const images = confusion[index]!.reduce((sum, count) => sum + count, 0);
    const answers = confusion.reduce((sum, row) => sum + row[index]!, 0);
    return {
      class: name,
      images,
      precision: over(right, answers),
      recall: over(right, images),
      f1: over(2 * right, images + answers),
    };
  });
}
