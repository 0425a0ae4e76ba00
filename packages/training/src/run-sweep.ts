/**
 * The training of a sweep: many heads on the same batches of features, each with its own optimiser, until every one has
 * ended or failed; then the best is published as a training of its own is. It may die anywhere and goes on from its
 * last checkpoint with the same bits, as run-training.ts says.
 */
import { type Progress, problem, type TrainResult } from "@cardinal/contracts";
import { featureChannels } from "@cardinal/resnext";
import { HeadStack } from "@cardinal/resnext/tfjs";
import { announceStart } from "./announce.ts";
import { stepsOfEpoch } from "./epoch-batches.ts";
import type { TrainingInputs } from "./inputs.ts";
import { ProgressReporter } from "./progress.ts";
import { cancelled, publish } from "./publish.ts";
import { SweepCheckpoints, type SweepWeights } from "./sweep-checkpoints.ts";
import { sweepOptimizers } from "./sweep-recipes.ts";
import {
  bestEpochs,
  freshHeads,
  type HeadTraining,
  leaderOf,
  placeOf,
  rankedHeads,
  refuseAllFailed,
  runningHeads,
} from "./sweep-state.ts";
import { judgeHeads, stepHeads } from "./sweep-steps.ts";
import { stopwatch, type TrainingJob } from "./training-job.ts";
import { endOf, isOutOfTime, type TrainingState } from "./training-state.ts";

/**
 * Throws as `runTraining` does, but `loss_not_finite` only when every head has diverged: one alone drops out as failed,
 * with its error in the result.
 */
export async function runSweep(job: TrainingJob): Promise<TrainResult> {
  const { payload, emit, signal, set, start, steps, network } = job;
  const { epochs } = job.recipe;
  const heads = freshHeads(job.recipe, sweepOptimizers(payload.request));
  const checkpoints = new SweepCheckpoints(job.checkpointOptions);
  const shape = { channels: featureChannels(network.architecture), classes: set.classes.length };
  const restored = await checkpoints.restore(heads, shape);
  const weights = restored ?? { stack: freshStack(job, heads, shape), best: new Map() };
  using _ = weights.stack;
  const { step } = placeOf(heads);
  const resumedFromStep = step > 0 ? step : undefined;
  const progress = new ProgressReporter(emit, { step }, { steps, epochs }, () => sweepProgress(heads));
  announceStart(emit, set, start, resumedFromStep, { heads: heads.length });
  try {
    const lap = stopwatch();
    const inputs = await job.inputs(() => progress.phase(seen(heads), "reading"));
    const waited = lap();
    for (const head of runningHeads(heads)) heads[head]!.state.trainSeconds += waited;
    const run = { job, heads, weights, inputs, checkpoints, progress, lap };
    while (runningHeads(heads).length > 0) await sweepEpoch(run);
    refuseAllFailed(heads);
    progress.phase(seen(heads), "exporting");
    return await publishWinner(run, resumedFromStep);
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
    if (job.stopReason() !== "drain") throw cancelled(payload.job);
    await checkpoints.save(heads, weights);
    const at = `step ${placeOf(heads).step} of ${steps}`;
    throw problem("shutting_down", `${payload.job} stops at ${at}; its checkpoint is saved`);
  }
}

function freshStack({ start }: TrainingJob, heads: HeadTraining[], shape: { channels: number; classes: number }) {
  const options = new Map(heads.map(({ recipe }, head) => [head, recipe.optimizer]));
  return HeadStack.fresh(shape, options, start.parameters);
}

interface SweepRun {
  job: TrainingJob;
  heads: HeadTraining[];
  weights: SweepWeights;
  inputs: TrainingInputs;
  checkpoints: SweepCheckpoints;
  progress: ProgressReporter;
  lap(): number;
}

/** What is left of the epoch under way for all heads that run, its validation, and a checkpoint. */
async function sweepEpoch({ job, heads, weights, inputs, checkpoints, progress, lap }: SweepRun): Promise<void> {
  const { recipe, set, ends, steps, emit } = job;
  const context = { classes: set.classes.length, heads, weights, emit };
  progress.phase(seen(heads), "training");
  for await (const step of stepsOfEpoch({ recipe, set, ends, inputs }, placeOf(heads))) {
    const figures = await stepHeads(context, step, { steps, lap });
    refuseAllFailed(heads);
    if (runningHeads(heads).length === 0) return; // the last one has just failed, others have ended before
    progress.step(seen(heads), figures);
    const place = placeOf(heads);
    if (isOutOfTime(recipe, place)) break;
    if (checkpoints.due && place.position < set.train.length) await checkpoints.save(heads, weights);
  }
  progress.phase(seen(heads), "validating");
  const started = performance.now();
  const epoch = await judgeHeads(context, inputs.evaluation(set.validation, recipe.batchSize), lap);
  progress.validated(set.validation.length, (performance.now() - started) / 1000);
  refuseAllFailed(heads);
  await checkpoints.save(heads, weights);
  if (epoch) progress.epoch(seen(heads), epoch);
}

async function publishWinner(
  { job, heads, weights, inputs }: SweepRun,
  resumedFromStep: number | undefined,
): Promise<TrainResult> {
  const { network, start, emit } = job;
  const winner = leaderOf(heads)!;
  const { recipe, state } = heads[winner]!;
  const endedBy = endOf(recipe, state)!;
  const { optimizer } = recipe;
  const details = { head: winner, ...optimizer, bestEpoch: state.best!.epoch, valAccuracy: state.best!.accuracy };
  emit({ type: "log", level: "info", message: `the best of ${heads.length} heads is head ${winner}`, details });
  network.load(new Map([...network.parameters(), ...weights.best.get(winner)!]));
  const trainSeconds = Math.max(...heads.map((head) => head.state.trainSeconds));
  const sweep = rankedHeads(heads);
  const end = { endedBy, state: { ...state, trainSeconds }, resumedFromStep, sweep };
  return publish({ ...job, recipe, inputs, base: start.base, ...end });
}

/** The sweep as one training, for its progress. */
function seen(heads: readonly HeadTraining[]): TrainingState {
  return { ...placeOf(heads), epochs: bestEpochs(heads) };
}

function sweepProgress(heads: readonly HeadTraining[]): Partial<Progress> {
  const leader = leaderOf(heads);
  const best = leader === undefined ? undefined : heads[leader]!.state.best!;
  return {
    sweep: {
      heads: heads.length,
      running: runningHeads(heads).length,
      failed: heads.filter(({ error }) => error).length,
      ...(best && { leader: { head: leader!, bestEpoch: best.epoch, valAccuracy: best.accuracy } }),
    },
  };
}
