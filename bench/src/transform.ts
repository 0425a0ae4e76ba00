import { IMAGENET_MEAN, IMAGENET_STD, type Transform } from "@cardinal/contracts";

/** The evaluation transform of torchvision's first ImageNet weights, which peers/preprocess.py spells out. */
export const transform: Transform = {
  resize: 256,
  crop: 224,
  mean: [...IMAGENET_MEAN],
  std: [...IMAGENET_STD],
  exif: "ignore",
};
