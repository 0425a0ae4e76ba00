/**
 * From a state_dict of elsewhere to a model of the registry: read, fit to the architecture, export, prove that the
 * export runs, publish. Like a training's, the publication is announced in the job's pointer first, so that whatever
 * dies, one model comes of it.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  checkClassIndex,
  claimCheckpoint,
  encodeSafetensors,
  fitStateDict,
  headClasses,
  modelId,
  readWeightsFile,
  rollForward,
  setAlias,
  writeBundleFiles,
} from "@cardinal/checkpoint";
import {
  type Emit,
  IMAGENET_MEAN,
  IMAGENET_STD,
  type ImportPayload,
  type ImportResult,
  type ModelManifest,
  modelReportSchema,
  problem,
  type Transform,
} from "@cardinal/contracts";
import { loadSession } from "@cardinal/inference";
import { type Architecture, architecture, isLearned, type Parameters, parameterSpecs } from "@cardinal/resnext";
import { exportOnnx } from "@cardinal/resnext/onnx";
import { layout, type ObjectStore } from "@cardinal/storage";
import { z } from "zod";
import { fetchWeights } from "./fetch-weights.ts";

export interface ImportOptions {
  store: ObjectStore;
  payload: ImportPayload;
  /** Grows with every run of the job. */
  attempt: number;
  threads: number;
  software: string;
  allowedHosts: readonly string[];
  /** Longest silence of an https source, in milliseconds. */
  idleMs: number;
  emit: Emit;
  signal: AbortSignal;
  mayPublish(): Promise<boolean>;
}

export async function importModel(options: ImportOptions): Promise<ImportResult> {
  const { store, payload, attempt, emit } = options;
  const pointer = await claimCheckpoint(store, payload.job, attempt);
  if (pointer.publish) return finish(store, payload, await announced(store, payload.job));
  const folder = await mkdtemp(join(tmpdir(), "cardinal-import-"));
  try {
    const path = join(folder, "weights");
    emit({ type: "log", level: "info", message: "fetching the weights" });
    const fetched = await fetchWeights(payload, { ...options, path });
    const step = steps(options);
    step("checking");
    const arch = architecture(payload.request.architecture);
    const { parameters, format, notes, classes } = await readParameters(store, payload, arch, path);
    const transform = transformOf(payload, arch);
    step("exporting");
    const onnx = exportOnnx(arch, parameters, {
      imageSize: transform.crop,
      metadata: { architecture: arch.name, classes: JSON.stringify(classes), transform: JSON.stringify(transform) },
    });
    step("proving");
    await proveExport(onnx, join(folder, "model.onnx"), options.threads);
    step("publishing");
    const id = modelId(payload.job, pointer.attempt);
    const files = await writeBundleFiles(store, id, {
      onnx,
      safetensors: encodeSafetensors(parameters, { format: "pt" }),
      classes,
      report: {
        epochs: [],
        confusion: [],
        classes: [],
        imported: { parameters: learnedCount(arch, parameters), notes },
      },
    });
    if (!(await options.mayPublish())) throw problem("cancelled", `${payload.job} was cancelled`);
    const manifest = await pointer.announce({
      format: 1,
      id,
      createdAt: new Date().toISOString(),
      architecture: payload.request.architecture,
      classes,
      transform,
      lineage: {
        job: payload.job,
        ...(payload.createdBy !== undefined && { createdBy: payload.createdBy }),
        source: { format, ...fetched },
        software: options.software,
      },
      files,
    });
    return await finish(store, payload, manifest);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const STEPS = ["checking", "exporting", "proving", "publishing"] as const;

/**
 * Tells which step begins, and ends a run that was stopped. Each takes seconds even for the largest network, and the
 * time between two signs of life is what STALL_SECONDS bounds.
 */
function steps({ emit, signal }: ImportOptions): (phase: (typeof STEPS)[number]) => void {
  return (phase) => {
    signal.throwIfAborted();
    const done = STEPS.indexOf(phase);
    const percent = (100 * done) / STEPS.length;
    emit({ type: "progress", progress: { done, total: STEPS.length, unit: "steps", percent, phase } });
  };
}

async function announced(store: ObjectStore, job: string): Promise<ModelManifest> {
  const manifest = await rollForward(store, job);
  if (!manifest) throw problem("internal_error", `${job} has announced no model`);
  return manifest;
}

/** The steps after the announcement, which may be done any number of times. */
async function finish(store: ObjectStore, payload: ImportPayload, manifest: ModelManifest): Promise<ImportResult> {
  const { alias } = payload.request;
  const bytes = await store.read(layout.modelFile(manifest.id, "report.json"));
  const { imported } = modelReportSchema.parse(JSON.parse(bytes.toString()));
  if (!imported || !("source" in manifest.lineage)) throw problem("model_corrupt", `${manifest.id} was not imported`);
  if (alias !== undefined) await setAlias(store, alias, manifest.id, { by: payload.job });
  return {
    model: manifest.id,
    ...(alias !== undefined && { alias }),
    architecture: manifest.architecture,
    classes: manifest.classes.length,
    transform: manifest.transform,
    format: manifest.lineage.source.format,
    ...imported,
  };
}

async function readParameters(store: ObjectStore, payload: ImportPayload, arch: Architecture, path: string) {
  const { tensors, format, notes } = await readWeightsFile(path);
  const numClasses = headClasses(tensors, "fc.weight");
  if (numClasses === undefined) {
    throw problem("state_dict_mismatch", "the weights have no fc.weight, so no classes", { missing: ["fc.weight"] });
  }
  const classes = await classNames(store, payload, numClasses);
  const fitted = fitStateDict(tensors, parameterSpecs(arch, numClasses));
  return { parameters: fitted.tensors as Parameters, format, notes: [...notes, ...fitted.report.notes], classes };
}

async function classNames(store: ObjectStore, payload: ImportPayload, numClasses: number): Promise<string[]> {
  if (payload.classes === undefined) return Array.from({ length: numClasses }, (_, index) => String(index));
  const names = z.array(z.string()).parse(JSON.parse((await store.read(payload.classes)).toString()));
  checkClassIndex(names.length, numClasses);
  return names;
}

function transformOf({ request }: ImportPayload, arch: Architecture): Transform {
  const crop = request.crop ?? arch.imageSize;
  if (crop < arch.minImageSize) {
    throw problem(
      "image_size_too_small",
      `${arch.name} needs images of ${arch.minImageSize} pixels or more, not ${crop}`,
    );
  }
  const resize = request.resize ?? Math.round((crop * arch.resizeSize) / arch.imageSize);
  return { resize, crop, mean: [...IMAGENET_MEAN], std: [...IMAGENET_STD], exif: request.exif };
}

/** Weights that overflow or were damaged give no numbers: such a model is refused before anybody can use it. */
async function proveExport(onnx: Uint8Array, path: string, threads: number): Promise<void> {
  await writeFile(path, onnx);
  const session = await loadSession(path, { threads });
  try {
    // A grey ramp, within the range that normalised images have.
    const probe = Float32Array.from({ length: 3 * session.side ** 2 }, (_, index) => (index % 251) / 62.75 - 2);
    const logits = await session.run(probe, 1);
    if (!logits.every(Number.isFinite)) {
      throw problem("invalid_checkpoint", "the network with these weights answers with infinite numbers or none");
    }
  } finally {
    await session.release();
  }
}

/** As the papers and torchvision count: what is learned, without BatchNorm's statistics. */
function learnedCount(arch: Architecture, parameters: Parameters): number {
  const numClasses = parameters.get("fc.bias")!.data.length;
  return parameterSpecs(arch, numClasses)
    .filter(isLearned)
    .reduce((sum, { name }) => sum + parameters.get(name)!.data.length, 0);
}
