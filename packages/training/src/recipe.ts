/** What a training does exactly: the request with every default filled in, and what it refuses. */
import {
  type ArchitectureName,
  IMAGENET_MEAN,
  IMAGENET_STD,
  problem,
  type Recipe,
  type TrainPayload,
  type Transform,
} from "@cardinal/contracts";
import { type Architecture, architecture } from "@cardinal/resnext";

/**
 * The recipe of a request. Throws `image_size_too_small` when nothing would be left of an image at the network's last
 * stage, and `invalid_request` for what only other code paths train (a base model, only the head).
 */
export function recipeOf(request: TrainPayload["request"]): Recipe {
  if (request.trainable !== "all" || request.base !== undefined) {
    throw problem("invalid_request", "this trains all parameters from scratch: neither `base` nor `trainable: head`", {
      path: request.base === undefined ? "trainable" : "base",
    });
  }
  const arch = architecture(request.architecture);
  const imageSize = request.imageSize ?? arch.imageSize;
  if (imageSize < arch.minImageSize) {
    throw problem(
      "image_size_too_small",
      `${arch.name} needs images of ${arch.minImageSize} pixels or more, not ${imageSize}`,
      { imageSize, minImageSize: arch.minImageSize },
    );
  }
  return {
    architecture: arch.name as ArchitectureName,
    trainable: "all",
    epochs: request.epochs,
    batchSize: request.batchSize,
    optimizer: request.optimizer,
    schedule: request.schedule,
    augment: request.augment,
    imageSize,
    transform: evaluationTransform(arch, imageSize),
    seed: request.seed,
  };
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

/** Rows (and columns) that the last stage has for a square input; BatchNorm there averages over batch x rows². */
export function lastStageSide(arch: Architecture, imageSize: number): number {
  const halved = (side: number) => Math.ceil(side / 2);
  let side = arch.stem === "7x7-pool" ? halved(halved(imageSize)) : imageSize;
  for (let stage = 1; stage < arch.layers.length; stage++) side = halved(side);
  return side;
}

/**
 * The learning rate of a step, counted from 0. `cosine`: from the full rate down to 0 over all steps (Loshchilov and
 * Hutter 2017, arXiv 1608.03983, equation 5 without restarts).
 */
export function learningRate(recipe: Recipe, step: number, steps: number): number {
  const full = recipe.optimizer.learningRate;
  return recipe.schedule.name === "cosine" ? (full / 2) * (1 + Math.cos((Math.PI * step) / steps)) : full;
}
