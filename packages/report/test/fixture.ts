/** A judged training without a training: seeded logits, drawn images, one hostile class name. */
import type { ModelReport, Recipe } from "@cardinal/contracts";
import { Judge, type JudgedImage, type ReportedModel, splitDuplicates, trainingPhases } from "@cardinal/report";
import { layout, type ObjectStore } from "@cardinal/storage";
import sharp from "sharp";

/** Runs if any page ever takes it for markup. */
export const HOSTILE = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;

export const FLOWERS = ["daisy", "dandelion", HOSTILE, "roses", "tulips \u202egnirts", "sunflowers & \u00e9toiles"];

export const recipe: Recipe = {
  ...{ architecture: "resnext50_32x4d", trainable: "head", epochs: 5, batchSize: 16, accumulate: 1 },
  optimizer: { name: "adam", learningRate: 1e-4, weightDecay: 0, decayNormAndBias: true },
  schedule: { name: "cosine", warmupEpochs: 1 },
  labelSmoothing: 0.1,
  augment: { crop: "center", flip: 0.5 },
  imageSize: 224,
  transform: { resize: 256, crop: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], exif: "ignore" },
  seed: 7,
};

export const model: ReportedModel = {
  ...{ id: "mdl-01k-1", job: "train-01k", createdAt: "2026-11-25T05:00:00.000Z", architecture: "resnext50_32x4d" },
  ...{ dataset: { name: "flowers", version: "ab".repeat(32) }, bestEpoch: 4, recipe, software: "cardinal 0.1.0" },
};

/** A generator of numbers in 0..1, the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A picture of two colours in the store, as a photograph would lie there. Gives its digest. */
export async function storePicture(store: ObjectStore, hue: number, width = 500, height = 375): Promise<string> {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><rect width="100%" height="100%" fill="hsl(${hue},45%,70%)"/><circle cx="50%" cy="50%" r="30%" fill="hsl(${hue + 40},70%,45%)"/></svg>`;
  const bytes = await sharp(Buffer.from(svg)).jpeg().toBuffer();
  const { sha256, key } = await store.put(`uploads/${hue}-${width}`, bytes);
  await store.put(layout.blob(sha256), bytes);
  await store.delete(key);
  return sha256;
}

/** Logits of a network that is right in about `skill` of its answers and a little too sure of itself. */
export function judged(classes: readonly string[], images: number, digests: readonly string[], skill = 0.85) {
  const random = seeded(1);
  const judge = new Judge(classes);
  const seen: JudgedImage[] = Array.from({ length: images }, (_, index) => {
    const label = index % classes.length;
    return { path: `val/${classes[label]}/${index} "<b>.jpg`, sha256: digests[index % digests.length]!, label };
  });
  for (const image of seen) {
    const answer = random() < skill ? image.label : Math.floor(random() ** 2 * classes.length);
    const logits = Float32Array.from(classes, (_, index) => random() * 2 + (index === answer ? 0.5 + 6 * random() : 0));
    judge.add(logits, [image]);
  }
  return { ...judge.result(), seen };
}

export function reportOf(classes: readonly string[], images: number, digests: readonly string[]): ModelReport {
  const { seen, ...figures } = judged(classes, images, digests);
  const epochs = Array.from({ length: recipe.epochs }, (_, index) => ({
    ...{ epoch: index + 1, trainLoss: 1.6 * 0.6 ** index + 0.2, trainAccuracy: 0.9 - 0.5 * 0.5 ** index },
    ...{ valLoss: 1.4 * 0.65 ** index + 0.3, valAccuracy: 0.88 - 0.4 * 0.5 ** index - (index === 4 ? 0.02 : 0) },
    ...{ learningRate: 1e-4 * (1 - index / 5), seconds: 14 + index, imagesPerSecond: 250 - 3 * index },
    ...{ trainSeconds: 12, trainImages: 3000 },
  }));
  const judge = { images, seconds: 1.9 };
  return {
    epochs,
    ...figures,
    duplicates: splitDuplicates([{ ...seen[0]!, path: "train/twin.jpg", label: 1 }], seen.slice(0, 4)),
    phases: trainingPhases({ epochs, trainSeconds: 161, validationImages: images, judge, exportSeconds: 2.4 }),
    training: { evaluatedOn: "val", trainSeconds: 161, exportError: 1e-6, endedBy: "epochs", resumedFromStep: 188 },
  };
}
