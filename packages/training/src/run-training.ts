/**
 * The training of one job, start to end: data, network, optimiser, epochs of steps and validation with checkpoints,
 * then export, check and publication. It may die anywhere: the next attempt goes on from the last checkpoint, and the
 * same seed on the same number of threads gives the same weights, bit for bit, however often that happened (but for
 * `maxRuntimeSeconds`, which looks at the clock).
 */
import { type CheckpointPointer, claimCheckpoint } from "@cardinal/checkpoint";
import { CardinalError, problem, type Recipe, type TrainResult } from "@cardinal/contracts";
import { spendPlan } from "@cardinal/features";
import { architecture } from "@cardinal/resnext";
import { Network, Optimizer } from "@cardinal/resnext/tfjs";
import { announceEnd, announceStart } from "./announce.ts";
import { Checkpoints } from "./checkpoints.ts";
import { stepsOfEpoch } from "./epoch-batches.ts";
import { ImageFeed } from "./image-feed.ts";
import { FeatureInputs, type TrainingInputs } from "./inputs.ts";
import { featureCounts, readLabelledFeatures } from "./labelled-features.ts";
import { evaluate, trainOn } from "./network-steps.ts";
import { type Prepared, prepare } from "./prepare.ts";
import { ProgressReporter } from "./progress.ts";
import { cancelled, finishPublished, publish } from "./publish.ts";
import { learningRate } from "./recipe.ts";
import { runSweep } from "./run-sweep.ts";
import type { Start } from "./start.ts";
import { stopwatch, type TrainingJob, type TrainingOptions } from "./training-job.ts";
import { batchEnds, stepEnds, type TrainingSet } from "./training-set.ts";
import { endEpoch, endOf, endStep, isOutOfTime, type TrainingState } from "./training-state.ts";

/**
 * Runs a training job to its end, or on from where an earlier attempt stopped.
 *
 * Throws `cancelled`; `shutting_down` after a checkpoint when the signal's reason is a drain; `fenced` when a later
 * attempt has the job; `loss_not_finite` when the training diverges (earlier checkpoints stay); `export_mismatch`;
 * `dataset_not_found`, `dataset_not_trainable`, `single_class`, `model_not_found`, `model_corrupt`,
 * `state_dict_mismatch`, what `recipeOf` refuses, and `batch_too_small` before any compute; an image's own code with
 * its path when it cannot be decoded; `features_missing` when the feature cache lacks what a head is trained on (see
 * `planFeatures`); and the store's errors.
 */
export async function runTraining(options: TrainingOptions): Promise<TrainResult> {
  const { store, payload } = options;
  const pointer = await claimCheckpoint(store, payload.job, options.attempt);
  return pointer.publish ? finishPublished(store, payload) : train(options, pointer);
}

async function train(options: TrainingOptions, pointer: CheckpointPointer): Promise<TrainResult> {
  const { store, payload, emit } = options;
  const prepared = await prepare(store, payload);
  const { recipe, set, start } = prepared;
  const ends = batchEnds(recipe, set.train.length);
  const steps = stepEnds(ends, recipe.accumulate).length * recipe.epochs;
  using network = networkOf(recipe, set, start);
  const feed = feedOf(options, recipe);
  const isHead = recipe.trainable === "head";
  const features = isHead ? await featureCounts(store, payload.job, prepared) : undefined;
  const inputs = async (onReading: () => void): Promise<TrainingInputs> => {
    if (!isHead) return feed;
    onReading();
    emit({ type: "log", level: "info", message: "features of the frozen backbone are read", details: { ...features } });
    return featureInputs(options, prepared);
  };
  const checkpointOptions = { store, pointer, emit, everySeconds: options.checkpointSeconds ?? 120 };
  const made = { recipe, set, start, network, feed, ends, steps, features, inputs };
  const job = { ...options, ...made, pointer, checkpointOptions };
  return await (payload.request.sweep ? runSweep(job) : trainNetwork(job)); // the network goes after it
}

async function trainNetwork(job: TrainingJob): Promise<TrainResult> {
  const { payload, emit, signal, recipe, set, start, network, steps } = job;
  using optimizer = new Optimizer(network, recipe.optimizer);
  const checkpoints = new Checkpoints(job.checkpointOptions);
  const state = await checkpoints.restore(network, optimizer);
  const resumedFromStep = state.step > 0 ? state.step : undefined;
  const progress = new ProgressReporter(emit, state, { steps, epochs: recipe.epochs });
  announceStart(emit, set, start, resumedFromStep);
  try {
    const lap = stopwatch();
    const inputs = await job.inputs(() => progress.phase(state, "reading"));
    state.trainSeconds += lap();
    const run = { job, optimizer, inputs, state, checkpoints, progress, lap };
    while (!endOf(recipe, state)) await trainEpoch(run);
    const endedBy = endOf(recipe, state)!;
    announceEnd(emit, endedBy, state);
    progress.phase(state, "exporting");
    await checkpoints.restoreBest(network);
    return await publish({ ...job, inputs, base: start.base, state, resumedFromStep, endedBy });
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
    if (job.stopReason() !== "drain") throw cancelled(payload.job);
    await checkpoints.save(network, optimizer, state);
    throw problem("shutting_down", `${payload.job} stops at step ${state.step} of ${steps}; its checkpoint is saved`);
  }
}

async function featureInputs({ store, payload, signal }: TrainingOptions, prepared: Prepared): Promise<FeatureInputs> {
  const { recipe, set, start } = prepared;
  try {
    const read = await readLabelledFeatures(store, { recipe, set, parameters: start.parameters }, signal);
    return new FeatureInputs(read, set, signal);
  } catch (error) {
    // They were extracted and are gone, or damaged: the next attempt has those extracted anew.
    if (error instanceof CardinalError && error.code === "features_missing") await spendPlan(store, payload.job);
    throw error;
  }
}

function networkOf(recipe: Recipe, set: TrainingSet, { parameters }: Start): Network {
  const { trainable } = recipe;
  return new Network(architecture(recipe.architecture), set.classes.length, parameters, { trainable });
}

function feedOf({ store, emit, signal }: TrainingOptions, recipe: Recipe): ImageFeed {
  const common = { store, transform: recipe.transform, emit, signal };
  // Features stand in for the views, so these need not be kept.
  return new ImageFeed(recipe.trainable === "head" ? { ...common, viewBytes: 0 } : common);
}

interface EpochOptions {
  job: TrainingJob;
  optimizer: Optimizer;
  inputs: TrainingInputs;
  state: TrainingState;
  checkpoints: Checkpoints;
  progress: ProgressReporter;
  lap(): number;
}

/** What is left of the epoch under way, its validation, and a checkpoint. */
async function trainEpoch({ job, optimizer, inputs, state, checkpoints, progress, lap }: EpochOptions): Promise<void> {
  const { recipe, set, ends, steps, network, emit } = job;
  const { epoch } = state;
  progress.phase(state, "training");
  for await (const { batch, cuts } of stepsOfEpoch({ recipe, set, ends, inputs }, state)) {
    const rate = learningRate(recipe, state.step, steps);
    const figures = await trainOn(network, optimizer, batch, { recipe, rate, step: state.step, ends: cuts, emit });
    endStep(state, figures, lap());
    progress.step(state, figures);
    if (isOutOfTime(recipe, state)) break;
    if (checkpoints.due && state.position < set.train.length) await checkpoints.save(network, optimizer, state);
  }
  progress.phase(state, "validating");
  const where = { epoch: epoch + 1, learningRate: state.epochRate };
  const validation = await evaluate(network, inputs.evaluation(set.validation, recipe.batchSize), where);
  progress.validated(set.validation.length, validation.seconds);
  const ended = endEpoch(state, validation, lap());
  await checkpoints.save(network, optimizer, state, ended.best);
  progress.epoch(state, ended.epoch);
}
