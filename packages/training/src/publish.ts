/**
 * From the weights of the best epoch to a model that the registry knows.
 *
 *   evaluate, export, check ──▶ files written ──▶ announced in the pointer ──▶ manifest ──▶ alias ──▶ result
 *
 * Until the announcement a death costs nothing but the work: the next attempt makes a bundle of its own, and the sweep
 * removes this one. From the announcement on the model is the job's; whoever takes the job next only completes the
 * steps that are left (`finishPublished`).
 */
import {
  type CheckpointPointer,
  encodeSafetensors,
  modelId,
  rollForward,
  setAlias,
  writeBundleFiles,
} from "@cardinal/checkpoint";
import {
  type Emit,
  type FeatureCounts,
  type HeadOrigin,
  type ModelManifest,
  type ModelReport,
  modelReportSchema,
  problem,
  type Recipe,
  type TrainingEnd,
  type TrainPayload,
  type TrainResult,
} from "@cardinal/contracts";
import { Judge, makeTrainingReport, splitDuplicates, trainingPhases } from "@cardinal/report";
import { exportOnnx } from "@cardinal/resnext/onnx";
import type { Network } from "@cardinal/resnext/tfjs";
import { layout, type ObjectStore } from "@cardinal/storage";
import { checkExport, type ExpectedLogits } from "./export-check.ts";
import type { ImageFeed } from "./image-feed.ts";
import type { TrainingInputs } from "./inputs.ts";
import { evaluate, logitsOf } from "./network-steps.ts";
import type { TrainingSet } from "./training-set.ts";
import type { TrainingState } from "./training-state.ts";

/** Real images that the exported model is checked on. A head's backbone was checked when its base was published. */
const CHECK_IMAGES = 64;
const HEAD_CHECK_IMAGES = 16;

export interface PublishOptions {
  store: ObjectStore;
  payload: TrainPayload;
  pointer: CheckpointPointer;
  recipe: Recipe;
  set: TrainingSet;
  /** Real images, for the check of the export. */
  feed: ImageFeed;
  /** What the network is judged on. */
  inputs: TrainingInputs;
  /** Of head training: where its features came from. */
  features: FeatureCounts | undefined;
  /** Where the weights were from, when there is a base. */
  base: { id: string; head: HeadOrigin } | undefined;
  endedBy: TrainingEnd;
  /** With the weights to publish: those of the best epoch. */
  network: Network;
  state: TrainingState;
  /** The heads of a sweep, of which the network has the best. */
  sweep?: ModelReport["sweep"];
  resumedFromStep: number | undefined;
  threads: number;
  software: string;
  emit: Emit;
  signal: AbortSignal;
  mayPublish(): Promise<boolean>;
}

/** Throws `export_mismatch`, `cancelled` when publication is not wanted any more, and `fenced`. */
export async function publish(options: PublishOptions): Promise<TrainResult> {
  const { store, payload, pointer, set, network, emit, signal } = options;
  const started = performance.now();
  const parameters = network.parameters();
  const id = modelId(payload.job, pointer.attempt);
  const onnx = exportOnnx(network.architecture, parameters, {
    imageSize: options.recipe.imageSize,
    metadata: onnxMetadata(options, id),
  });
  const exportError = await checkExport(onnx, checkBatches(options), options.threads);
  const exportSeconds = (performance.now() - started) / 1000;
  const { report, html } = await makeReport(options, id, { exportError, exportSeconds });
  signal.throwIfAborted();
  const safetensors = encodeSafetensors(parameters, { format: "pt" });
  const files = await writeBundleFiles(store, id, {
    ...{ onnx, safetensors, classes: set.classes, report, ...(html !== undefined && { reportHtml: html }) },
  });
  emit({ type: "stage", stage: "export", seconds: (performance.now() - started) / 1000 });
  signal.throwIfAborted();
  if (!(await options.mayPublish())) throw cancelled(payload.job);
  const published = await pointer.announce(manifestOf(options, id, files));
  return finish(store, payload, published);
}

/** Completes what an earlier attempt has announced. */
export async function finishPublished(store: ObjectStore, payload: TrainPayload): Promise<TrainResult> {
  const manifest = await rollForward(store, payload.job);
  if (!manifest) throw problem("internal_error", `${payload.job} has announced no model`);
  return finish(store, payload, manifest);
}

/** The steps after the announcement, which may be done any number of times. */
async function finish(store: ObjectStore, payload: TrainPayload, manifest: ModelManifest): Promise<TrainResult> {
  const { alias } = payload.request;
  const { sha256 } = manifest.files["report.json"];
  const bytes = await store.read(layout.modelFile(manifest.id, "report.json"), { sha256 });
  const report = modelReportSchema.parse(JSON.parse(bytes.toString()));
  if (!report.training) throw problem("model_corrupt", `the report of ${manifest.id} does not say how it was trained`);
  const { lineage, metrics } = manifest;
  if (!("recipe" in lineage) || !metrics) throw problem("model_corrupt", `${manifest.id} does not say what trained it`);
  const { evaluatedOn: _, ...figures } = report.training;
  if (alias !== undefined) await setAlias(store, alias, manifest.id, { by: payload.job });
  return {
    model: manifest.id,
    ...(alias !== undefined && { alias }),
    dataset: lineage.dataset,
    classes: manifest.classes,
    recipe: lineage.recipe,
    ...(lineage.base !== undefined && { base: lineage.base }),
    epochs: report.epochs,
    ...(report.sweep && { sweep: report.sweep.map(({ curve: _, ...head }) => head) }),
    bestEpoch: metrics.bestEpoch,
    valAccuracy: metrics.valAccuracy,
    ...figures,
  };
}

export function cancelled(job: string) {
  return problem("cancelled", `${job} was cancelled`, { job });
}

/** What a reader of the .onnx file alone needs to use it. */
function onnxMetadata({ recipe, set }: PublishOptions, id: string): Record<string, string> {
  return {
    model: id,
    architecture: recipe.architecture,
    classes: JSON.stringify(set.classes),
    transform: JSON.stringify(recipe.transform),
  };
}

/**
 * Evenly from all of the validation images, which lie class by class. A head's logits are of the cached features it was
 * trained on, so the check covers these, too: another backbone or another view would be found.
 */
async function* checkBatches({ set, feed, inputs, network, recipe }: PublishOptions): AsyncGenerator<ExpectedLogits> {
  const count = Math.min(recipe.trainable === "head" ? HEAD_CHECK_IMAGES : CHECK_IMAGES, set.validation.length);
  const images = Array.from(
    { length: count },
    (_, i) => set.validation[Math.floor((i * set.validation.length) / count)]!,
  );
  if (inputs === feed) {
    for await (const batch of feed.evaluation(images, recipe.batchSize))
      yield { batch, logits: logitsOf(network, batch) };
    return;
  }
  const seen = inputs.evaluation(images, recipe.batchSize);
  for await (const batch of feed.evaluation(images, recipe.batchSize)) {
    yield { batch, logits: logitsOf(network, (await seen.next()).value!) };
  }
}

/** Judges the kept weights on all validation images, and makes the figures and the page of it. */
async function makeReport(
  options: PublishOptions,
  id: string,
  { exportError, exportSeconds }: { exportError: number; exportSeconds: number },
): Promise<{ report: ModelReport; html: string | undefined }> {
  const { store, payload, network, inputs, set, recipe, state, resumedFromStep, base, endedBy } = options;
  const where = { epoch: state.best!.epoch, learningRate: recipe.optimizer.learningRate };
  const judge = new Judge(set.classes);
  const { seconds } = await evaluate(network, inputs.evaluation(set.validation, recipe.batchSize), where, judge);
  const { epochs, trainSeconds } = state;
  const judged = { images: set.validation.length, seconds };
  const report: ModelReport = {
    epochs,
    ...judge.result(),
    ...(set.evaluatedOn === "val" && { duplicates: splitDuplicates(set.train, set.validation) }),
    phases: trainingPhases({ epochs, trainSeconds, validationImages: judged.images, judge: judged, exportSeconds }),
    ...(options.sweep && { sweep: options.sweep }),
    training: {
      evaluatedOn: set.evaluatedOn,
      trainSeconds,
      exportError,
      ...(base && { head: base.head }),
      ...(options.features && { features: options.features }),
      endedBy,
      ...(resumedFromStep !== undefined && { resumedFromStep }),
    },
  };
  const model = {
    ...{ id, job: payload.job, createdAt: new Date().toISOString(), architecture: recipe.architecture, recipe },
    ...{ dataset: { name: set.name, version: set.version }, bestEpoch: state.best!.epoch, software: options.software },
    ...(base && { base: base.id }),
  };
  const { emit, signal } = options;
  return makeTrainingReport({ store, model, report, exif: recipe.transform.exif, emit, signal });
}

function manifestOf(options: PublishOptions, id: string, files: ModelManifest["files"]): ModelManifest {
  const { recipe, set, state, payload, base } = options;
  const { accuracy, loss, epoch } = state.best!;
  return {
    format: 1,
    id,
    createdAt: new Date().toISOString(),
    architecture: recipe.architecture,
    classes: set.classes,
    transform: recipe.transform,
    metrics: { valAccuracy: accuracy, valLoss: loss, bestEpoch: epoch },
    lineage: {
      job: payload.job,
      ...(payload.createdBy !== undefined && { createdBy: payload.createdBy }),
      dataset: { name: set.name, version: set.version },
      ...(base && { base: base.id }),
      recipe,
      software: options.software,
    },
    files,
  };
}
