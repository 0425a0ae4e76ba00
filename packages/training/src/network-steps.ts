/** The network's two verbs on a batch of the feed: a step of training, and evaluation. */
import { type CardinalError, problem } from "@cardinal/contracts";
import { type Network, type Optimizer, tf, trainStep } from "@cardinal/resnext/tfjs";
import { type Evaluation, EvaluationSum } from "./evaluation.ts";
import type { ImageBatch } from "./image-feed.ts";
import type { StepFigures } from "./training-state.ts";

/**
 * A mean loss over this, in nats, counts as infinite: the right class would have a probability of e^-10000, which no
 * float holds. Logarithms keep such a loss a finite number (a learning rate of 1000 gives 1e7 with Adam and BatchNorm,
 * and never a NaN), but there is no way back from there, and a job should not train for hours to show it. Chance is
 * ln(classes), below 14 for a million of them.
 */
export const DIVERGED_LOSS = 1e4;

/** One step of gradient descent; `step` is its number, from 0. Throws `loss_not_finite` when the loss has diverged. */
export function trainOn(
  network: Network,
  optimizer: Optimizer,
  batch: ImageBatch,
  rate: number,
  step: number,
): StepFigures {
  const started = performance.now();
  const x = imagesTensor(batch);
  try {
    const { loss, correct } = trainStep(network, optimizer, { x, labels: batch.labels }, rate);
    if (!(loss <= DIVERGED_LOSS)) throw notFinite("the loss", loss, { step: step + 1, learningRate: rate });
    return { loss, correct, rate, images: batch.labels.length, seconds: secondsSince(started) };
  } finally {
    x.dispose();
  }
}

/** Judges the network in evaluation mode. Throws `loss_not_finite` with the details. */
export async function evaluate(
  network: Network,
  batches: AsyncIterable<ImageBatch>,
  details: { epoch: number; learningRate: number },
): Promise<Evaluation & { seconds: number }> {
  const started = performance.now();
  const sum = new EvaluationSum(network.numClasses);
  for await (const batch of batches) sum.add(logitsOf(network, batch), [...batch.labels]);
  const evaluation = sum.result();
  if (!Number.isFinite(evaluation.loss)) throw notFinite("the validation loss", evaluation.loss, details);
  return { ...evaluation, seconds: secondsSince(started) };
}

/** Logits of a batch in evaluation mode, row by row: [images, classes]. */
export function logitsOf(network: Network, batch: ImageBatch): Float32Array {
  return tf.tidy(() => network.predict(imagesTensor(batch)).dataSync() as Float32Array);
}

function imagesTensor({ pixels, labels }: ImageBatch) {
  const side = Math.sqrt(pixels.length / 3 / labels.length);
  return tf.tensor4d(pixels, [labels.length, side, side, 3]);
}

function notFinite(what: string, value: number, details: Record<string, number>): CardinalError {
  const where = Object.entries(details).map(([name, number]) => `${name} ${number}`);
  return problem("loss_not_finite", `${what} became ${value} at ${where.join(", ")}; a smaller rate may help`, details);
}

const secondsSince = (started: number): number => (performance.now() - started) / 1000;
