/**
 * Where a sweep is: the state of each head's training, which is that of a training of its own, and what it failed with.
 *
 *   running ──step, epoch──▶ running ──endOf──▶ ended
 *      └──── the loss is not finite ──────────▶ failed
 *
 * Invariants: heads that run are all at the same step, epoch and position; one that ended or failed keeps its state and
 * never changes again; `best` of a state and the weights in `SweepCheckpoint.best` are of the same epoch.
 */
import {
  type Epoch,
  type ProblemRecord,
  problem,
  problemRecordSchema,
  type Recipe,
  type SweepHead,
} from "@cardinal/contracts";
import { z } from "zod";
import { endOf, initialState, type TrainingState, trainingStateSchema } from "./training-state.ts";

export const sweepStateSchema = z.array(
  z.strictObject({ state: trainingStateSchema, error: problemRecordSchema.optional() }),
);

export interface HeadTraining {
  /** The job's recipe, with this head's optimiser. */
  readonly recipe: Recipe;
  readonly state: TrainingState;
  error?: ProblemRecord | undefined;
}

/** A head's number is its index. */
export function freshHeads(recipe: Recipe, optimizers: readonly Recipe["optimizer"][]): HeadTraining[] {
  return optimizers.map((optimizer) => ({ recipe: { ...recipe, optimizer }, state: initialState() }));
}

/** Numbers of the heads that are neither at their end nor failed. */
export function runningHeads(heads: readonly HeadTraining[]): number[] {
  return heads.flatMap(({ recipe, state, error }, head) => (error || endOf(recipe, state) ? [] : [head]));
}

/** Step, epoch and position of the heads that run; when none does, of those that ran last. */
export function placeOf(heads: readonly HeadTraining[]): TrainingState {
  const running = runningHeads(heads)[0];
  if (running !== undefined) return heads[running]!.state;
  return heads.map(({ state }) => state).reduce((a, b) => (b.epoch > a.epoch ? b : a));
}

/**
 * Numbers of the heads, the best first: of the highest validation accuracy in its best epoch, of equals the lowest
 * validation loss, of equals the lowest number. Then those that have not ended an epoch, then those that failed.
 */
export function ranked(heads: readonly HeadTraining[]): number[] {
  const group = ({ error, state }: HeadTraining) => (error ? 2 : state.best ? 0 : 1);
  return heads
    .map((_, head) => head)
    .sort((a, b) => {
      const [x, y] = [heads[a]!, heads[b]!];
      if (group(x) !== group(y) || group(x) > 0) return group(x) - group(y) || a - b;
      const [p, q] = [x.state.best!, y.state.best!];
      return q.accuracy - p.accuracy || p.loss - q.loss || a - b;
    });
}

/** The best head so far. */
export function leaderOf(heads: readonly HeadTraining[]): number | undefined {
  const first = ranked(heads)[0]!;
  return heads[first]!.error || !heads[first]!.state.best ? undefined : first;
}

/** Of every finished epoch the figures of the head that was best at it: a history that only ever gets longer. */
export function bestEpochs(heads: readonly HeadTraining[]): Epoch[] {
  const best: Epoch[] = [];
  for (const { state } of heads) {
    for (const [at, epoch] of state.epochs.entries()) {
      if (!best[at] || epoch.valAccuracy > best[at].valAccuracy) best[at] = epoch;
    }
  }
  return best;
}

/** Throws `loss_not_finite` when every head has failed with it. */
export function refuseAllFailed(heads: readonly HeadTraining[]): void {
  const errors = heads.flatMap(({ error }) => error ?? []);
  if (errors.length < heads.length) return;
  const message = `all ${heads.length} heads of the sweep have diverged; the first: ${errors[0]!.message}`;
  throw problem("loss_not_finite", message, { heads: heads.length });
}

/** The heads as the result ranks them, with their curves. */
export function rankedHeads(heads: readonly HeadTraining[]): (SweepHead & { curve: TrainingState["epochs"] })[] {
  return ranked(heads).map((head) => {
    const { recipe, state, error } = heads[head]!;
    const { best } = state;
    const endedBy = error ? undefined : endOf(recipe, state);
    return {
      ...{ head, state: error ? "failed" : "completed", optimizer: recipe.optimizer, epochs: state.epoch },
      ...(best && { bestEpoch: best.epoch, valAccuracy: best.accuracy, valLoss: best.loss }),
      ...(endedBy && { endedBy }),
      ...(error && { error }),
      curve: state.epochs,
    } as const;
  });
}
