/** What a training request cannot mean for the base and the data set that it names. */
import {
  type ArchitectureName,
  architectures,
  type DatasetVersion,
  type ModelManifest,
  problem,
  type TrainRequest,
} from "@cardinal/contracts";

/** Throws `base_required`, `base_mismatch`, `invalid_request` for a stage that the architecture has not. */
export function refuseBase(
  { trainable }: TrainRequest,
  architecture: ArchitectureName,
  base: ModelManifest | undefined,
): void {
  const { stages } = architectures[architecture];
  if (trainable.startsWith("layer") && Number(trainable.slice("layer".length)) > stages) {
    throw problem("invalid_request", `trainable: ${architecture} has ${stages} stages, so no ${trainable}`, {
      path: "trainable",
    });
  }
  if (trainable !== "all" && base === undefined) {
    throw problem("base_required", `trainable '${trainable}' freezes the layers of a base model: name it as 'base'`, {
      path: "base",
    });
  }
  if (base !== undefined && base.architecture !== architecture) {
    throw problem(
      "base_mismatch",
      `the base ${base.id} is a ${base.architecture}, not a ${architecture}; leave 'architecture' out to train the base's`,
      { path: "architecture", architecture: base.architecture },
    );
  }
}

/** Throws `image_size_too_small`. */
export function refuseImageSize({ imageSize }: TrainRequest, architecture: ArchitectureName): void {
  const { minImageSize } = architectures[architecture];
  if (imageSize === undefined || imageSize >= minImageSize) return;
  throw problem(
    "image_size_too_small",
    `${architecture} needs images of ${minImageSize} pixels or more, not ${imageSize}`,
    { path: "imageSize", minImageSize },
  );
}

/** Throws `dataset_not_trainable`, `single_class`. */
export function refuseUntrainable(dataset: DatasetVersion): void {
  const images = dataset.report.splits.train ?? 0;
  if (images === 0) {
    throw problem("dataset_not_trainable", `data set ${dataset.name} has no labelled training images`, {
      path: "dataset",
    });
  }
  if (dataset.classes.length < 2) {
    throw problem("single_class", `data set ${dataset.name} has the one class ${dataset.classes[0]}`, {
      path: "dataset",
    });
  }
}
