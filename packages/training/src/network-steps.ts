/** The network's two verbs on a batch of images or features: a step of training, and evaluation. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { type CardinalError, type Emit, problem, type Recipe } from "@cardinal/contracts";
import type { Judge } from "@cardinal/report";
import { GradientSum, type Network, type Optimizer, tf } from "@cardinal/resnext/tfjs";
import { type Evaluation, EvaluationSum } from "./evaluation.ts";
import type { ImageBatch } from "./image-feed.ts";
import type { FeatureBatch } from "./inputs.ts";
import type { StepFigures } from "./training-state.ts";

/**
 * A mean loss over this, in nats, counts as infinite: the right class would have a probability of e^-10000, which no
 * float holds. Logarithms keep such a loss a finite number (a learning rate of 1000 gives 1e7 with Adam and BatchNorm,
 * and never a NaN), but there is no way back from there, and a job should not train for hours to show it. Chance is
 * ln(classes), below 14 for a million of them.
 */
export const DIVERGED_LOSS = 1e4;

/** What a step takes beside its images. */
export interface StepOptions {
  recipe: Recipe;
  rate: number;
  /** Its number, from 0. */
  step: number;
  /** Where the batches end that the step's images are cut into; the last end is their number. */
  ends: readonly number[];
  emit: Emit;
}

/**
 * One step of gradient descent, on the mean loss of all its images. Between two batches of a step messages are seen,
 * but nothing stops it: half a step is no state to go on from. Throws `loss_not_finite` when the loss has diverged.
 */
export async function trainOn(
  network: Network,
  optimizer: Optimizer,
  input: ImageBatch | FeatureBatch,
  { recipe, rate, step, ends, emit }: StepOptions,
): Promise<StepFigures> {
  const started = performance.now();
  const classWeights = recipe.classWeights && Float32Array.from(recipe.classWeights);
  using sum = new GradientSum(network);
  let start = 0;
  for (const end of ends) {
    if (start > 0) await nextTurn();
    const begun = performance.now();
    const x = inputTensor(input, start, end);
    try {
      sum.add({ x, labels: input.labels.slice(start, end), classWeights, labelSmoothing: recipe.labelSmoothing });
    } finally {
      x.dispose();
    }
    if (end < ends.at(-1)!) emit({ type: "stage", stage: "train_step", seconds: secondsSince(begun) });
    start = end;
  }
  const { loss, correct } = sum.apply(optimizer, rate);
  if (!(loss <= DIVERGED_LOSS)) throw notFinite("the loss", loss, { step: step + 1, learningRate: rate });
  return { loss, correct, rate, images: input.labels.length, seconds: secondsSince(started) };
}

/**
 * Judges the network in evaluation mode; `judge` sees every batch's logits, too. Throws `loss_not_finite` with the
 * details.
 */
export async function evaluate(
  network: Network,
  batches: AsyncIterable<ImageBatch | FeatureBatch>,
  details: { epoch: number; learningRate: number },
  judge?: Judge,
): Promise<Evaluation & { seconds: number }> {
  const started = performance.now();
  const sum = new EvaluationSum(network.numClasses);
  for await (const batch of batches) {
    const logits = logitsOf(network, batch);
    sum.add(logits, [...batch.labels]);
    judge?.add(logits, batch.images);
  }
  const evaluation = sum.result();
  if (!Number.isFinite(evaluation.loss)) throw notFinite("the validation loss", evaluation.loss, details);
  return { ...evaluation, seconds: secondsSince(started) };
}

/** Logits of a batch in evaluation mode, row by row: [images, classes]. */
export function logitsOf(network: Network, batch: ImageBatch | FeatureBatch): Float32Array {
  return tf.tidy(() => network.predict(inputTensor(batch)).dataSync() as Float32Array);
}

/** Images [N, side, side, 3] or features [N, channels] of the rows from `start` to before `end`. */
export function inputTensor(batch: ImageBatch | FeatureBatch, start = 0, end = batch.labels.length) {
  const values = "pixels" in batch ? batch.pixels : batch.features;
  const size = values.length / batch.labels.length;
  const rows = values.slice(start * size, end * size);
  if ("features" in batch) return tf.tensor2d(rows, [end - start, size]);
  const side = Math.sqrt(size / 3);
  return tf.tensor4d(rows, [end - start, side, side, 3]);
}

/** The error of a training that has diverged. */
export function notFinite(what: string, value: number, details: Record<string, number>): CardinalError {
  const where = Object.entries(details).map(([name, number]) => `${name} ${number}`);
  return problem("loss_not_finite", `${what} became ${value} at ${where.join(", ")}; a smaller rate may help`, details);
}

const secondsSince = (started: number): number => (performance.now() - started) / 1000;
