/** Logits to probabilities and ranked predictions. */
import { type Prediction, problem } from "@cardinal/contracts";

/**
 * Softmax in float64, shifted by the largest logit so that no exponential overflows. The sum runs in index order, so
 * equal logits give bit-equal probabilities on every machine. Throws `prediction_not_finite`.
 */
export function softmax(logits: ArrayLike<number>): Float64Array {
  const probabilities = new Float64Array(logits.length);
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) {
    const logit = logits[i]!;
    if (!Number.isFinite(logit)) throw problem("prediction_not_finite", `the logit of class ${i} is ${logit}`);
    if (logit > largest) largest = logit;
  }
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    probabilities[i] = Math.exp(logits[i]! - largest);
    sum += probabilities[i]!;
  }
  for (let i = 0; i < logits.length; i++) probabilities[i] = probabilities[i]! / sum;
  return probabilities;
}

/**
 * The `k` most probable classes, most probable first; of equal logits the lower index comes first. `k` above the number
 * of classes, or `"all"`, gives all of them. Probabilities are not rounded. Ranked by logit: two logits may differ
 * where their probabilities are both 0. Throws `prediction_not_finite`.
 */
export function topK(logits: ArrayLike<number>, k: number | "all", classes: readonly string[]): Prediction[] {
  const probabilities = softmax(logits);
  const order = Uint32Array.from({ length: logits.length }, (_, index) => index);
  order.sort((a, b) => logits[b]! - logits[a]! || a - b);
  const ranked = k === "all" ? order : order.subarray(0, k);
  return Array.from(ranked, (index) => ({
    class: classes[index]!,
    index,
    probability: probabilities[index]!,
  }));
}
