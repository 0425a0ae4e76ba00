/**
 * Where a training is. Everything that a later attempt needs beside the tensors to go on as if nothing had happened.
 *
 *   (epoch e, position 0) ──step──▶ (e, p) ──step──▶ … (e, all images) ──validation──▶ (e + 1, 0) … (epochs, 0): done
 *                                     └──── time is up: validation of the part ─────▶ (e + 1, 0): done
 *
 * A training is also done between two epochs when it stops early. `endOf` tells, from the state alone, so that an
 * attempt that finds it in a checkpoint sees the same.
 *
 * Invariants: `step` counts the steps of all epochs; `position` is a multiple of whole batches; `epochs` has one entry
 * for each finished epoch; `best` is set from the first finished epoch on.
 */
import { type Epoch, epochSchema, type Recipe, type TrainingEnd } from "@cardinal/contracts";
import { z } from "zod";
import type { Evaluation } from "./evaluation.ts";

export const trainingStateSchema = z.strictObject({
  step: z.int().min(0),
  /** The epoch under way, from 0. */
  epoch: z.int().min(0),
  /** Images of the epoch that are done. */
  position: z.int().min(0),
  /** Over those images: sum of the losses, right answers, seconds of training. */
  lossSum: z.number(),
  right: z.int(),
  epochSeconds: z.number(),
  /** Learning rate of the epoch's first step. */
  epochRate: z.number(),
  /** Seconds of training and validation since the job's first step, without what was lost to a death. */
  trainSeconds: z.number(),
  epochs: z.array(epochSchema),
  best: z.strictObject({ epoch: z.int(), accuracy: z.number(), loss: z.number() }).optional(),
});
export type TrainingState = z.infer<typeof trainingStateSchema>;

const emptyEpoch = { position: 0, lossSum: 0, right: 0, epochSeconds: 0, epochRate: 0 };

export function initialState(): TrainingState {
  return { step: 0, epoch: 0, ...emptyEpoch, trainSeconds: 0, epochs: [] };
}

export interface StepFigures {
  /** Mean over the batch. */
  loss: number;
  correct: number;
  images: number;
  rate: number;
  /** Of computing alone. */
  seconds: number;
}

/** Notes a finished step; `seconds` since the one before, with the wait for its images. */
export function endStep(state: TrainingState, figures: StepFigures, seconds: number): void {
  if (state.position === 0) state.epochRate = figures.rate;
  state.step += 1;
  state.position += figures.images;
  state.lossSum += figures.loss * figures.images;
  state.right += figures.correct;
  state.epochSeconds += seconds;
  state.trainSeconds += seconds;
}

/**
 * Notes a finished epoch, whose validation took `seconds`, and moves to the next. Gives it, and whether it is the best so far: the highest validation
 * accuracy, of equals the lowest validation loss, of equals the first. So the first epoch always is, whatever its
 * accuracy, and a training always has a model to keep.
 */
export function endEpoch(
  state: TrainingState,
  evaluation: Evaluation,
  seconds: number,
): { epoch: Epoch; best: boolean } {
  const epoch: Epoch = {
    epoch: state.epoch + 1,
    trainLoss: state.lossSum / state.position,
    trainAccuracy: state.right / state.position,
    valLoss: evaluation.loss,
    valAccuracy: evaluation.accuracy,
    learningRate: state.epochRate,
    seconds: state.epochSeconds + seconds,
    imagesPerSecond: state.position / state.epochSeconds,
    trainSeconds: state.epochSeconds,
    trainImages: state.position,
  };
  const { best } = state;
  const { accuracy, loss } = evaluation;
  const better = !best || accuracy > best.accuracy || (accuracy === best.accuracy && loss < best.loss);
  if (better) state.best = { epoch: epoch.epoch, accuracy, loss };
  state.epochs.push(epoch);
  Object.assign(state, emptyEpoch);
  state.epoch += 1;
  state.trainSeconds += seconds;
  return { epoch, best: better };
}

/** Why the training is over; undefined while it goes on. An epoch under way is always brought to its end first. */
export function endOf(recipe: Recipe, state: TrainingState): TrainingEnd | undefined {
  if (state.position > 0) return undefined;
  if (state.epoch >= recipe.epochs) return "epochs";
  if (state.epoch > 0 && isOutOfTime(recipe, state)) return "max-runtime";
  return hasStalled(recipe, state.epochs) ? "early-stopping" : undefined;
}

export function isOutOfTime({ maxRuntimeSeconds }: Recipe, { trainSeconds }: TrainingState): boolean {
  return maxRuntimeSeconds !== undefined && trainSeconds >= maxRuntimeSeconds;
}

/** Whether in `patience` epochs none rose by more than `minDelta` over the last that did, as Keras' EarlyStopping. */
function hasStalled({ earlyStopping }: Recipe, epochs: readonly Epoch[]): boolean {
  if (!earlyStopping) return false;
  let reference = Number.NEGATIVE_INFINITY;
  let without = 0;
  for (const { valAccuracy } of epochs) {
    const rises = valAccuracy > reference + earlyStopping.minDelta;
    if (rises) reference = valAccuracy;
    without = rises ? 0 : without + 1;
  }
  return without >= earlyStopping.patience;
}
