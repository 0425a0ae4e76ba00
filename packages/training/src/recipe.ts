/** What a training does exactly: the request with every default filled in, and what it refuses. */
import {
  type ArchitectureName,
  type ClassCount,
  classWeightsOf,
  effectiveAugment,
  IMAGENET_MEAN,
  IMAGENET_STD,
  type ModelManifest,
  problem,
  type Recipe,
  type TrainPayload,
  type Transform,
} from "@cardinal/contracts";
import { type Architecture, architecture, stageNames } from "@cardinal/resnext";

/**
 * The recipe of a request for a data set with these classes, from `base` when it names one.
 *
 * Throws `base_required` for frozen stages that would be random ones, `base_mismatch` for a base of another
 * architecture, `image_size_too_small` when nothing would be left of an image at the network's last stage, and
 * `invalid_request` for a stage that the architecture does not have or class weights that do not suit the classes.
 */
export function recipeOf(
  request: TrainPayload["request"],
  classes: readonly ClassCount[],
  base?: ModelManifest,
): Recipe {
  const arch = architecture(request.architecture);
  checkStages(request, arch, base);
  const transform = transformOf(request, arch, base);
  const imageSize = transform.crop;
  const classWeights = classWeightsOf(request.classWeights, classes);
  if (imageSize < arch.minImageSize) {
    throw problem(
      "image_size_too_small",
      `${arch.name} needs images of ${arch.minImageSize} pixels or more, not ${imageSize}`,
      { imageSize, minImageSize: arch.minImageSize },
    );
  }
  return {
    architecture: arch.name as ArchitectureName,
    trainable: request.trainable,
    epochs: request.epochs,
    batchSize: request.batchSize,
    accumulate: request.accumulate,
    optimizer: request.optimizer,
    schedule: request.schedule,
    labelSmoothing: request.labelSmoothing,
    ...(classWeights && { classWeights }),
    ...(request.earlyStopping && { earlyStopping: request.earlyStopping }),
    ...(request.maxRuntimeSeconds !== undefined && { maxRuntimeSeconds: request.maxRuntimeSeconds }),
    augment: augmentOf(request),
    imageSize,
    transform,
    seed: request.seed,
  };
}

/** A payload of a version without views asks for a head on live views, if it says nothing else: it gets the centre view. */
function augmentOf({ trainable, augment }: TrainPayload["request"]): Recipe["augment"] {
  const asked = trainable === "head" && augment.views === undefined ? {} : augment;
  const effective = effectiveAugment(trainable, asked);
  if ("augment" in effective) return effective.augment;
  const { path, message } = effective.issue;
  throw problem("invalid_request", `augment.${path} ${message}`, { path: `augment.${path}` });
}

function checkStages(request: TrainPayload["request"], arch: Architecture, base: ModelManifest | undefined): void {
  const { trainable } = request;
  if (trainable !== "all" && !stageNames(arch).includes(trainable)) {
    const message = `${arch.name} has no stage ${trainable}: trainable is "all" or one of ${stageNames(arch).slice(1).join(", ")}`;
    throw problem("invalid_request", message, { path: "trainable" });
  }
  if (trainable !== "all" && !base) {
    throw problem("base_required", `trainable "${trainable}" freezes the stages before it, which only a base has`, {
      path: "base",
    });
  }
  if (base && base.architecture !== arch.name) {
    throw problem("base_mismatch", `the base ${base.id} is a ${base.architecture}, not a ${arch.name}`, {
      path: "architecture",
      architecture: base.architecture,
    });
  }
}

/**
 * The base's transform: what its weights were trained on. Another image size keeps its ratio of resize to crop, its
 * normalisation and its EXIF policy.
 */
function transformOf(request: TrainPayload["request"], arch: Architecture, base: ModelManifest | undefined): Transform {
  if (!base) return evaluationTransform(arch, request.imageSize ?? arch.imageSize);
  const { transform } = base;
  const crop = request.imageSize ?? transform.crop;
  return { ...transform, resize: Math.round((crop * transform.resize) / transform.crop), crop };
}

/**
 * The transform for a square of `imageSize` pixels: the short side is resized to what keeps the architecture's own
 * ratio of resize to crop (256 to 224 for the ImageNet variants, 1 to 1 for those for small images, whose subjects
 * fill the picture), then the centre is cropped.
 */
export function evaluationTransform(arch: Architecture, imageSize: number): Transform {
  return {
    resize: Math.round((imageSize * arch.resizeSize) / arch.imageSize),
    crop: imageSize,
    mean: [...IMAGENET_MEAN],
    std: [...IMAGENET_STD],
    exif: "ignore",
  };
}

/**
 * The learning rate of a step, counted from 0, of `steps` in all epochs. In the warm-up the rate rises linearly, its
 * last step has all of it. `cosine`: from the full rate down to 0 over the steps after the warm-up (Loshchilov and
 * Hutter 2017, arXiv 1608.03983, equation 5 without restarts). `step`: by the epoch, counted from the first one.
 */
export function learningRate({ optimizer, schedule, epochs }: Recipe, step: number, steps: number): number {
  const full = optimizer.learningRate;
  const warmup = Math.round((schedule.warmupEpochs * steps) / epochs);
  if (step < warmup) return (full * (step + 1)) / warmup;
  if (schedule.name === "cosine") return (full / 2) * (1 + Math.cos((Math.PI * (step - warmup)) / (steps - warmup)));
  if (schedule.name === "constant") return full;
  const epoch = Math.floor((step * epochs) / steps);
  return full * schedule.gamma! ** Math.floor(epoch / schedule.stepEpochs!);
}
