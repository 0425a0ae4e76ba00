/** Which batches batch normalisation can learn from. */
import { problem } from "./problems.ts";
import { type ArchitectureName, architectures, type TrainableName } from "./training.ts";

/** Rows (and columns) that the last stage has for a square input; BatchNorm there averages over batch x rows². */
export function lastStageSide(architecture: ArchitectureName, imageSize: number): number {
  let side = imageSize;
  for (let halved = 0; halved < architectures[architecture].halvings; halved++) side = Math.ceil(side / 2);
  return side;
}

export interface BatchChoice {
  architecture: ArchitectureName;
  trainable: TrainableName;
  imageSize: number;
  batchSize: number;
}

/**
 * Whether a batch of one image teaches nothing: where the last stage has one position, BatchNorm of one image has one
 * value a channel, whose variance is 0 (PyTorch refuses it). Where only the head learns, no BatchNorm does.
 */
export function needsTwoImages({ architecture, trainable, imageSize }: BatchChoice): boolean {
  return trainable !== "head" && lastStageSide(architecture, imageSize) === 1;
}

/** Throws `batch_too_small` when two images are needed in a batch and an epoch of `images` cannot have them. */
export function refuseSmallBatch(choice: BatchChoice, images: number): void {
  const { architecture, imageSize, batchSize } = choice;
  if (!needsTwoImages(choice) || (batchSize > 1 && images > 1)) return;
  throw problem(
    "batch_too_small",
    `at ${imageSize} pixels the last stage of ${architecture} has one position: ` +
      "BatchNorm needs two images or more in a batch",
    { path: "batchSize", batchSize, imageSize, images },
  );
}
