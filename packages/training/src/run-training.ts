/**
 * The training of one job, start to end: data, network, optimiser, epochs of steps and validation with checkpoints,
 * then export, check and publication. It may die anywhere: the next attempt goes on from the last checkpoint, and the
 * same seed on the same number of threads gives the same weights, bit for bit, however often that happened (but for
 * `maxRuntimeSeconds`, which looks at the clock).
 */
import { type CheckpointPointer, claimCheckpoint } from "@cardinal/checkpoint";
import {
  type Emit,
  problem,
  type Recipe,
  type TrainingEnd,
  type TrainPayload,
  type TrainResult,
} from "@cardinal/contracts";
import { architecture } from "@cardinal/resnext";
import { convolutionEngine, Network, Optimizer } from "@cardinal/resnext/tfjs";
import type { ObjectStore } from "@cardinal/storage";
import { Checkpoints } from "./checkpoints.ts";
import { ImageFeed } from "./image-feed.ts";
import { canUseFeatures, type FeatureOptions, featureInputs, type TrainingInputs } from "./inputs.ts";
import { evaluate, trainOn } from "./network-steps.ts";
import { ProgressReporter } from "./progress.ts";
import { cancelled, finishPublished, publish } from "./publish.ts";
import { learningRate, recipeOf } from "./recipe.ts";
import { freshStart, readBase, type Start, startFrom } from "./start.ts";
import { batchEnds, classCounts, epochOrder, readTrainingSet, stepEnds, type TrainingSet } from "./training-set.ts";
import { endEpoch, endOf, endStep, isOutOfTime, type TrainingState } from "./training-state.ts";

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
 * `dataset_not_found`, `dataset_not_trainable`, `single_class`, `model_not_found`, `model_corrupt`,
 * `state_dict_mismatch`, what `recipeOf` refuses, and `batch_too_small` before any compute; an image's own code with
 * its path when it cannot be decoded; and the store's errors.
 */
export async function runTraining(options: TrainingOptions): Promise<TrainResult> {
  const { store, payload } = options;
  const pointer = await claimCheckpoint(store, payload.job, options.attempt);
  return pointer.publish ? finishPublished(store, payload) : train(options, pointer);
}

async function train(options: TrainingOptions, pointer: CheckpointPointer): Promise<TrainResult> {
  const { store, payload, emit, signal } = options;
  const { recipe, set, start } = await prepare(store, payload);
  const ends = batchEnds(recipe, set.train.length);
  const steps = stepEnds(ends, recipe.accumulate).length * recipe.epochs;

  using network = networkOf(recipe, set, start);
  using optimizer = new Optimizer(network, recipe.optimizer);
  const everySeconds = options.checkpointSeconds ?? 120;
  const checkpoints = new Checkpoints({ store, pointer, emit, everySeconds });
  const state = await checkpoints.restore(network, optimizer);
  const resumedFromStep = state.step > 0 ? state.step : undefined;
  const progress = new ProgressReporter(emit, state, { steps, epochs: recipe.epochs });
  announceStart(emit, set, start, resumedFromStep);

  try {
    const lap = stopwatch();
    const feed = feedOf(options, recipe);
    const inputs = await inputsOf({ network, feed, set, recipe, emit, signal }, () =>
      progress.phase(state, "extracting"),
    );
    state.trainSeconds += lap();
    const run = { recipe, set, ends, steps, network, optimizer, inputs, state, checkpoints, progress, lap, emit };
    while (!endOf(recipe, state)) await trainEpoch(run);
    const endedBy = endOf(recipe, state)!;
    announceEnd(emit, endedBy, state);
    progress.phase(state, "exporting");
    const { base } = start;
    const made = { recipe, set, feed, inputs, network, checkpoints, state, resumedFromStep, base, endedBy };
    return await publish({ ...options, pointer, ...made });
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
    if (options.stopReason() !== "drain") throw cancelled(payload.job);
    await checkpoints.save(network, optimizer, state);
    throw problem("shutting_down", `${payload.job} stops at step ${state.step} of ${steps}; its checkpoint is saved`);
  }
}

async function prepare(store: ObjectStore, { request }: TrainPayload) {
  const set = await readTrainingSet(store, request.dataset);
  const base = await readBase(store, request.base);
  const recipe = recipeOf(request, classCounts(set), base);
  const arch = architecture(recipe.architecture);
  const [classes, seed] = [set.classes.length, recipe.seed];
  const start = base ? await startFrom(store, base, arch, classes, seed) : freshStart(arch, classes, seed);
  return { recipe, set, start };
}

function networkOf(recipe: Recipe, set: TrainingSet, { parameters }: Start): Network {
  const { trainable } = recipe;
  return new Network(architecture(recipe.architecture), set.classes.length, parameters, { trainable });
}

function feedOf({ store, emit, signal }: TrainingOptions, recipe: Recipe): ImageFeed {
  const common = { store, transform: recipe.transform, emit, signal };
  // Features stand in for the views, so these need not be kept.
  return new ImageFeed(canUseFeatures(recipe) ? { ...common, viewBytes: 0 } : common);
}

async function inputsOf(options: FeatureOptions, onExtraction: () => void): Promise<TrainingInputs> {
  if (!canUseFeatures(options.recipe)) return options.feed;
  onExtraction();
  return featureInputs(options);
}

interface EpochOptions {
  recipe: Recipe;
  set: TrainingSet;
  /** Where the epoch's batches end. */
  ends: readonly number[];
  /** Of all epochs. */
  steps: number;
  network: Network;
  optimizer: Optimizer;
  inputs: TrainingInputs;
  state: TrainingState;
  checkpoints: Checkpoints;
  progress: ProgressReporter;
  lap(): number;
  emit: Emit;
}

/** What is left of the epoch under way, its validation, and a checkpoint. */
async function trainEpoch(options: EpochOptions): Promise<void> {
  const { recipe, set, ends, steps, network, optimizer, inputs, state, checkpoints, progress, lap, emit } = options;
  const { epoch, position } = state;
  const { augment, seed } = recipe;
  const rest = epochOrder(set.train, seed, epoch).slice(position);
  const restEnds = stepEnds(ends, recipe.accumulate).flatMap((end) => (end > position ? [end - position] : []));
  progress.phase(state, "training");
  for await (const batch of inputs.training(rest, restEnds, { augment, seed, epoch, start: position })) {
    const [from, to] = [state.position, state.position + batch.images.length];
    const cuts = ends.flatMap((end) => (end > from && end <= to ? [end - from] : []));
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

function announceStart(emit: Emit, set: TrainingSet, { base }: Start, resumedFromStep: number | undefined): void {
  const images = { train: set.train.length, validation: set.validation.length, classes: set.classes.length };
  const how = resumedFromStep === undefined ? "begins" : `goes on after step ${resumedFromStep}`;
  const from = base && { base: base.id, head: base.head };
  emit({
    type: "log",
    level: "info",
    message: `training ${how}`,
    details: { ...images, ...from, engine: convolutionEngine() },
  });
  if (base?.head === "from base" && base.classes.some((name, index) => name !== set.classes[index])) {
    const message = "the base's head is kept, but was trained on classes of other names: it starts with their weights";
    emit({ type: "log", level: "warn", message, details: { base: base.id, baseClasses: base.classes.slice(0, 10) } });
  }
  if (set.evaluatedOn === "val") return;
  const message = "the data set has no validation images: the figures are of the training images themselves";
  emit({ type: "log", level: "warn", message, details: { dataset: set.name } });
}

function announceEnd(emit: Emit, endedBy: TrainingEnd, { epoch, best, trainSeconds }: TrainingState): void {
  if (endedBy === "epochs") return;
  const why = endedBy === "early-stopping" ? "the accuracy has not risen for long enough" : "its time is up";
  const details = { endedBy, epochs: epoch, bestEpoch: best?.epoch, trainSeconds };
  emit({ type: "log", level: "info", message: `training ends early: ${why}`, details });
}
