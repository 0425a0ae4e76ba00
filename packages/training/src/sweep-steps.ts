/** The verbs of a sweep's heads: a step of training, and an epoch's end. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { CardinalError, Emit, Epoch } from "@cardinal/contracts";
import { type HeadFigures, labelWeight } from "@cardinal/resnext/tfjs";
import type { StepInput } from "./epoch-batches.ts";
import { EvaluationSum } from "./evaluation.ts";
import type { ImageBatch } from "./image-feed.ts";
import type { FeatureBatch } from "./inputs.ts";
import { DIVERGED_LOSS, inputTensor, notFinite } from "./network-steps.ts";
import { learningRate } from "./recipe.ts";
import type { SweepWeights } from "./sweep-checkpoints.ts";
import { type HeadTraining, runningHeads } from "./sweep-state.ts";
import { endEpoch, endStep, type StepFigures } from "./training-state.ts";

export interface HeadsContext {
  classes: number;
  heads: HeadTraining[];
  weights: SweepWeights;
  emit: Emit;
}

/**
 * One step of all heads that run. Those whose loss has diverged fail and drop out of the stack. Gives the figures of
 * the head with the lowest loss.
 */
export async function stepHeads(
  { heads, weights, emit }: HeadsContext,
  { batch, cuts }: StepInput,
  { steps, lap }: { steps: number; lap(): number },
): Promise<StepFigures> {
  const started = performance.now();
  const { recipe, state } = heads[runningHeads(heads)[0]!]!;
  const { step } = state;
  const classWeights = recipe.classWeights && Float32Array.from(recipe.classWeights);
  const how = { classWeights, labelSmoothing: recipe.labelSmoothing, weight: labelWeight(batch.labels, classWeights) };
  const sums = new Map<number, HeadFigures>();
  let start = 0;
  for (const end of cuts) {
    if (start > 0) await nextTurn(); // messages are seen, but half a step is no state to go on from
    const x = inputTensor(batch, start, end);
    const figures = weights.stack.add({ x, labels: batch.labels.slice(start, end), ...how });
    x.dispose();
    for (const [head, { loss, correct }] of figures) {
      const sum = sums.get(head);
      sums.set(head, { loss: loss + (sum?.loss ?? 0), correct: correct + (sum?.correct ?? 0) });
    }
    start = end;
  }
  weights.stack.apply(scheduleFactor(heads[0]!, step, steps), step + 1);
  const seconds = lap();
  const common = { images: batch.labels.length, seconds: (performance.now() - started) / 1000 };
  let lowest: StepFigures | undefined;
  for (const [head, figures] of sums) {
    const { recipe, state } = heads[head]!;
    const rate = learningRate(recipe, step, steps);
    if (figures.loss <= DIVERGED_LOSS) endStep(state, { ...figures, rate, ...common }, seconds);
    else fail(heads[head]!, head, notFinite("the loss", figures.loss, { step: step + 1, learningRate: rate }), emit);
    if (!lowest || figures.loss < lowest.loss) lowest = { ...figures, rate, ...common };
  }
  dropOut(heads, weights);
  return lowest!;
}

/**
 * Judges all heads that run and ends their epoch; keeps the weights of those that it was the best epoch of. Those that
 * are at their end leave the stack. Gives the epoch of the head that is best at it; undefined when all have failed.
 */
export async function judgeHeads(
  { classes, heads, weights, emit }: HeadsContext,
  batches: AsyncIterable<ImageBatch | FeatureBatch>,
  lap: () => number,
): Promise<Epoch | undefined> {
  const sums = new Map(runningHeads(heads).map((head) => [head, new EvaluationSum(classes)]));
  for await (const batch of batches) {
    const x = inputTensor(batch);
    const logits = weights.stack.logits(x);
    x.dispose();
    for (const [head, sum] of sums) sum.add(logits.get(head)!, [...batch.labels]);
  }
  const seconds = lap();
  const improved: number[] = [];
  let top: Epoch | undefined;
  for (const [head, sum] of sums) {
    const { state } = heads[head]!;
    const evaluation = sum.result();
    if (!Number.isFinite(evaluation.loss)) {
      const where = { epoch: state.epoch + 1, learningRate: state.epochRate };
      fail(heads[head]!, head, notFinite("the validation loss", evaluation.loss, where), emit);
      continue;
    }
    const { epoch, best } = endEpoch(state, evaluation, seconds);
    if (best) improved.push(head);
    if (!top || epoch.valAccuracy > top.valAccuracy) top = epoch;
  }
  for (const [head, parameters] of weights.stack.parameters(improved)) weights.best.set(head, parameters);
  dropOut(heads, weights);
  return top;
}

/** The learning rate of a step over the recipe's own; the schedule is the same for all heads. */
function scheduleFactor({ recipe }: HeadTraining, step: number, steps: number): number {
  return learningRate({ ...recipe, optimizer: { ...recipe.optimizer, learningRate: 1 } }, step, steps);
}

function fail(training: HeadTraining, head: number, error: CardinalError, emit: Emit): void {
  training.error = error.toRecord();
  emit({ type: "log", level: "warn", message: `head ${head} fails: ${error.message}`, details: { head } });
}

/** Heads that do not run any more are computed no further; a failed one's best weights go, too. */
function dropOut(heads: HeadTraining[], { stack, best }: SweepWeights): void {
  heads.forEach(({ error }, head) => {
    if (error) best.delete(head);
  });
  const running = runningHeads(heads);
  if (running.length < stack.ids.length) stack.keep(running);
}
