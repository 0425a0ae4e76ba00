/** What is left of an epoch, step by step. */
import type { Recipe } from "@cardinal/contracts";
import type { ImageBatch } from "./image-feed.ts";
import type { FeatureBatch, TrainingInputs } from "./inputs.ts";
import { epochOrder, stepEnds, type TrainingSet } from "./training-set.ts";

export interface EpochSource {
  recipe: Recipe;
  set: TrainingSet;
  /** Where the epoch's batches end. */
  ends: readonly number[];
  inputs: TrainingInputs;
}

/** The images of one step, and where its batches end among them; the last end is their number. */
export interface StepInput {
  batch: ImageBatch | FeatureBatch;
  cuts: number[];
}

/** From `position` on; the same for the same seed, epoch and position, wherever an earlier attempt stopped. */
export async function* stepsOfEpoch(
  { recipe, set, ends, inputs }: EpochSource,
  { epoch, position }: { epoch: number; position: number },
): AsyncGenerator<StepInput> {
  const { augment, seed, accumulate } = recipe;
  const rest = epochOrder(set.train, seed, epoch).slice(position);
  const restEnds = stepEnds(ends, accumulate).flatMap((end) => (end > position ? [end - position] : []));
  let from = position;
  for await (const batch of inputs.training(rest, restEnds, { augment, seed, epoch, start: position })) {
    const to = from + batch.images.length;
    yield { batch, cuts: ends.flatMap((end) => (end > from && end <= to ? [end - from] : [])) };
    from = to;
  }
}
