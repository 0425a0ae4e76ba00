/**
 * The training of one job, start to end: data, network, optimiser, epochs of steps and validation with checkpoints,
 * then export, check and publication. It may die anywhere: the next attempt goes on from the last checkpoint, and the
 * same seed on the same number of threads gives the same weights, bit for bit, however often that happened.
 */
import { type CheckpointPointer, claimCheckpoint } from "@cardinal/checkpoint";
import { type Emit, problem, type TrainPayload, type TrainResult } from "@cardinal/contracts";
import { architecture, initParameters } from "@cardinal/resnext";
import { Network, Optimizer } from "@cardinal/resnext/tfjs";
import type { ObjectStore } from "@cardinal/storage";
import { Checkpoints } from "./checkpoints.ts";
import { ImageFeed } from "./image-feed.ts";
import { evaluate, trainOn } from "./network-steps.ts";
import { ProgressReporter } from "./progress.ts";
import { cancelled, finishPublished, publish } from "./publish.ts";
import { learningRate, recipeOf } from "./recipe.ts";
import { batchEnds, epochOrder, readTrainingSet, type TrainingSet } from "./training-set.ts";
import { endEpoch, endStep } from "./training-state.ts";

export interface TrainingOptions {
  store: ObjectStore;
  payload: TrainPayload;
  /** Number of this run of the job, higher than those of all earlier ones: it fences them off. */
  attempt: number;
  /** Threads for ONNX Runtime. TensorFlow takes its own from TF_NUM_INTRAOP_THREADS when the process begins. */
  threads: number;
  /** Version of Cardinal, kept in the model's lineage. */
  software: string;
  emit: Emit;
  /** Aborts at the next step; why, `stopReason` says. */
  signal: AbortSignal;
  stopReason(): "cancelled" | "drain" | undefined;
  /** Asked once, when everything is ready to be published. */
  mayPublish(): Promise<boolean>;
  /** Longest time between two checkpoints, 120 s unless given. */
  checkpointSeconds?: number;
}

/**
 * Runs a training job to its end, or on from where an earlier attempt stopped.
 *
 * Throws `cancelled`; `shutting_down` after a checkpoint when the signal's reason is a drain; `fenced` when a later
 * attempt has the job; `loss_not_finite` when the training diverges (earlier checkpoints stay); `export_mismatch`;
 * `dataset_not_found`, `dataset_not_trainable`, `single_class`, `image_size_too_small`, `batch_too_small` before any
 * compute; an image's own code with its path when it cannot be decoded; and the store's errors.
 */
export async function runTraining(options: TrainingOptions): Promise<TrainResult> {
  const { store, payload } = options;
  const pointer = await claimCheckpoint(store, payload.job, options.attempt);
  return pointer.publish ? finishPublished(store, payload) : train(options, pointer);
}

async function train(options: TrainingOptions, pointer: CheckpointPointer): Promise<TrainResult> {
  const { store, payload, emit, signal } = options;
  const recipe = recipeOf(payload.request);
  const set = await readTrainingSet(store, payload.request.dataset);
  const feed = new ImageFeed({ store, transform: recipe.transform, emit, signal });
  const ends = batchEnds(recipe, set.train.length);
  const steps = ends.length * recipe.epochs;

  const arch = architecture(recipe.architecture);
  using network = new Network(arch, set.classes.length, initParameters(arch, set.classes.length, recipe.seed));
  using optimizer = new Optimizer(network, { name: recipe.optimizer.name });
  const everySeconds = options.checkpointSeconds ?? 120;
  const checkpoints = new Checkpoints({ store, pointer, emit, everySeconds });
  const state = await checkpoints.restore(network, optimizer);
  const resumedFromStep = state.step > 0 ? state.step : undefined;
  const progress = new ProgressReporter(emit, state, steps);
  announceStart(emit, set, resumedFromStep);

  try {
    while (state.epoch < recipe.epochs) {
      const { epoch, position } = state;
      const rest = epochOrder(set.train, recipe.seed, epoch).slice(position);
      const restEnds = ends.filter((end) => end > position).map((end) => end - position);
      const { augment, seed } = recipe;
      progress.phase(state, "training");
      const lap = stopwatch();
      for await (const batch of feed.training(rest, restEnds, { augment, seed, epoch, start: position })) {
        const figures = trainOn(network, optimizer, batch, learningRate(recipe, state.step, steps), state.step);
        endStep(state, figures, lap());
        progress.step(state, figures);
        if (checkpoints.due && state.position < set.train.length) await checkpoints.save(network, optimizer, state);
      }
      progress.phase(state, "validating");
      const where = { epoch: epoch + 1, learningRate: state.epochRate };
      const validation = await evaluate(network, feed.evaluation(set.validation, recipe.batchSize), where);
      progress.validated(set.validation.length, validation.seconds);
      const ended = endEpoch(state, validation, lap());
      await checkpoints.save(network, optimizer, state, ended.best);
      progress.epoch(state, ended.epoch);
    }
    progress.phase(state, "exporting");
    return await publish({ ...options, pointer, recipe, set, feed, network, checkpoints, state, resumedFromStep });
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
    if (options.stopReason() !== "drain") throw cancelled(payload.job);
    await checkpoints.save(network, optimizer, state);
    throw problem("shutting_down", `${payload.job} stops at step ${state.step} of ${steps}; its checkpoint is saved`);
  }
}

/** Gives the seconds since its last call, at first since it was made. */
function stopwatch(): () => number {
  let last = performance.now();
  return () => {
    const now = performance.now();
    const seconds = (now - last) / 1000;
    last = now;
    return seconds;
  };
}

function announceStart(emit: Emit, set: TrainingSet, resumedFromStep: number | undefined): void {
  const images = { train: set.train.length, validation: set.validation.length, classes: set.classes.length };
  const how = resumedFromStep === undefined ? "begins" : `goes on after step ${resumedFromStep}`;
  emit({ type: "log", level: "info", message: `training ${how}`, details: images });
  if (set.evaluatedOn === "val") return;
  const message = "the data set has no validation images: the figures are of the training images themselves";
  emit({ type: "log", level: "warn", message, details: { dataset: set.name } });
}
