import assert from "node:assert/strict";
import { test } from "node:test";
import { architectures, classWeightsOf, lastStageSide, recipeSchema } from "@cardinal/contracts";
import { architecture, architectureNames } from "@cardinal/resnext";
import { evaluationTransform, learningRate, recipeOf } from "@cardinal/training";
import { EvaluationSum, scoreLogits } from "../src/evaluation.ts";
import { mirrorRows } from "../src/image-feed.ts";
import { batchEnds, epochOrder, stepEnds } from "../src/training-set.ts";
import { endEpoch, endOf, endStep, initialState } from "../src/training-state.ts";
import { coded, payload } from "./support.ts";

const dataset = { name: "flowers", version: "0".repeat(64) };
const recipe = (request: Parameters<typeof payload>[1]) =>
  recipeOf(payload(dataset, request).request, [{ class: "a", train: 1 }]);
const imagenet = "resnext50_32x4d";

test("the transform keeps the architecture's ratio of resize to crop", () => {
  const sizes = (name: string, side: number) => {
    const { resize, crop } = evaluationTransform(architecture(name), side);
    return [resize, crop];
  };
  assert.deepEqual(sizes(imagenet, 224), [256, 224]);
  assert.deepEqual(sizes(imagenet, 112), [128, 112]);
  assert.deepEqual(sizes(imagenet, 64), [73, 64]);
  assert.deepEqual(sizes("resnext14_8x4d", 28), [28, 28]);
  assert.deepEqual(sizes("resnext14_8x4d", 64), [64, 64]);
  for (const name of architectureNames) {
    const { imageSize, resizeSize } = architecture(name);
    assert.deepEqual(sizes(name, imageSize), [resizeSize, imageSize]);
  }
});

test("sides of the last stage", () => {
  const sides = [224, 225, 64, 33, 32].map((side) => lastStageSide(imagenet, side));
  assert.deepEqual(sides, [7, 8, 2, 2, 1]);
  assert.equal(lastStageSide("resnext14_8x4d", 28), 7);
});

test("batches: a small last one is trained too", () => {
  const at224 = recipe({ architecture: imagenet });
  assert.deepEqual(batchEnds(at224, 17), [16, 17]);
  assert.deepEqual(batchEnds(at224, 32), [16, 32]);
  assert.deepEqual(batchEnds(at224, 5), [5]);
});

test("batches: a single image joins the batch before it where the last stage has one position", () => {
  const at32 = recipe({ architecture: imagenet, imageSize: 32 });
  assert.deepEqual(batchEnds(at32, 17), [17]);
  assert.deepEqual(batchEnds(at32, 33), [16, 33]);
  assert.deepEqual(batchEnds(at32, 34), [16, 32, 34]);
  assert.throws(() => batchEnds(at32, 1), coded("batch_too_small"));
  assert.throws(() => batchEnds({ ...at32, batchSize: 1 }, 8), coded("batch_too_small"));
  assert.deepEqual(batchEnds(recipe({ architecture: imagenet, batchSize: 1 }), 2), [1, 2]);
});

test("every epoch has an order of its own, the same for the same seed", () => {
  const images = Array.from({ length: 50 }, (_, i) => ({ path: `${i}`, sha256: `${i}`, label: 0 }));
  const order = (seed: number, epoch: number) => epochOrder(images, seed, epoch).map(({ path }) => path);
  assert.deepEqual(order(1, 0), order(1, 0));
  assert.notDeepEqual(order(1, 0), order(1, 1));
  assert.notDeepEqual(order(1, 0), order(2, 0));
  assert.deepEqual(new Set(order(1, 0)), new Set(images.map(({ path }) => path)));
});

test("learning rates: constant, and cosine from the full rate towards 0", () => {
  const rates = (name: string) => {
    const schedule = recipe({ schedule: { name }, optimizer: { learningRate: 0.1 } });
    return [0, 1, 2, 3, 4].map((step) => Number(learningRate(schedule, step, 4).toFixed(6)));
  };
  assert.deepEqual(rates("constant"), [0.1, 0.1, 0.1, 0.1, 0.1]);
  assert.deepEqual(rates("cosine"), [0.1, 0.085355, 0.05, 0.014645, 0]);
});

test("learning rates: step by the epoch, and a warm-up before any of them", () => {
  const rates = (schedule: object, epochs: number, steps: number) => {
    const made = recipe({ schedule, epochs, optimizer: { learningRate: 0.1 } });
    return Array.from({ length: steps }, (_, step) => Number(learningRate(made, step, steps).toFixed(6)));
  };
  const thirds = [0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001, 0.001];
  assert.deepEqual(rates({ name: "step", stepEpochs: 2 }, 5, 10), thirds);
  assert.deepEqual(rates({ name: "step", stepEpochs: 1, gamma: 0.5 }, 2, 4), [0.1, 0.1, 0.05, 0.05]);
  assert.deepEqual(rates({ warmupEpochs: 2 }, 3, 6), [0.025, 0.05, 0.075, 0.1, 0.1, 0.1]);
  assert.deepEqual(rates({ warmupEpochs: 0.5 }, 2, 8), [0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]);
  assert.deepEqual(rates({ name: "cosine", warmupEpochs: 1 }, 3, 6), [0.05, 0.1, 0.1, 0.085355, 0.05, 0.014645]);
});

test("class weights: given by array or name, balanced, and what does not suit the classes", () => {
  const counts = [
    { class: "a", train: 30 },
    { class: "10", train: 10 },
    { class: "2", train: 0 },
  ];
  assert.equal(classWeightsOf(undefined, counts), undefined);
  assert.deepEqual(classWeightsOf([1, 2, 3], counts), [1, 2, 3]);
  assert.deepEqual(classWeightsOf({ 2: 5, a: 7 }, counts), [7, 1, 5]);
  assert.deepEqual(classWeightsOf("balanced", counts), [40 / 90, 40 / 30, 1]);
  assert.throws(() => classWeightsOf([1, 2], counts), /2 weights for 3 classes/);
  assert.throws(() => classWeightsOf({ toString: 1 }, counts), /no class "toString"/);
});

test("weight decay is PyTorch's by default, and momentum SGD's alone", () => {
  const optimizer = (wanted: object) => recipe({ optimizer: wanted }).optimizer;
  const common = { learningRate: 1e-4, decayNormAndBias: true };
  assert.deepEqual(optimizer({}), { name: "adam", weightDecay: 0, ...common });
  assert.deepEqual(optimizer({ name: "adamw" }), { name: "adamw", weightDecay: 0.01, ...common });
  assert.deepEqual(optimizer({ name: "sgd" }), { name: "sgd", weightDecay: 0, momentum: 0.9, ...common });
});

test("a recipe of an older version says what that version did", () => {
  const { accumulate: _, labelSmoothing: __, optimizer, schedule, ...rest } = recipe({});
  const old = { ...rest, optimizer: { name: "adam", learningRate: 0.001 }, schedule: { name: "constant" } };
  assert.deepEqual(recipeSchema.parse(old), recipe({}));
  assert.deepEqual([optimizer.weightDecay, schedule.warmupEpochs], [0, 0]);
});

test("what the contract says of the architectures is true", () => {
  assert.deepEqual(Object.keys(architectures).sort(), [...architectureNames].sort());
  for (const [name, known] of Object.entries(architectures)) {
    const { imageSize, minImageSize, layers, stem } = architecture(name);
    const halvings = (stem === "7x7-pool" ? 2 : 0) + layers.length - 1;
    assert.deepEqual(known, { imageSize, minImageSize, stages: layers.length, halvings }, name);
  }
});

test("early stopping counts the epochs since the last real rise", () => {
  const made = (minDelta: number) => recipe({ epochs: 9, earlyStopping: { patience: 2, minDelta } });
  const endsAfter = (accuracies: number[], minDelta: number) => {
    const state = initialState();
    for (const accuracy of accuracies) {
      endStep(state, { loss: 1, correct: 0, images: 4, rate: 0.1, seconds: 1 }, 1);
      assert.equal(endOf(made(minDelta), state), undefined, "an epoch under way is brought to its end");
      endEpoch(state, { accuracy, loss: 1 }, 1);
      if (endOf(made(minDelta), state)) return state.epoch;
    }
    return undefined;
  };
  assert.equal(endsAfter([0.5, 0.6, 0.6, 0.7, 0.7, 0.7, 0.8], 0), 6);
  assert.equal(endsAfter([0, 0, 0], 0), 3, "an accuracy of 0 is the first to be risen from");
  assert.equal(endsAfter([0.5, 0.54, 0.58, 0.59, 0.6], 0.05), 5);
  assert.equal(endsAfter([0.5, 0.54, 0.54], 0.05), 3);
});

test("steps end after so many batches, and with the epoch", () => {
  assert.deepEqual(stepEnds([2, 4, 6, 8, 9], 2), [4, 8, 9]);
  assert.deepEqual(stepEnds([2, 4], 2), [4]);
  assert.deepEqual(stepEnds([2, 4, 5], 1), [2, 4, 5]);
  assert.deepEqual(stepEnds([2, 4], 8), [4]);
});

test("cross entropy and right answers, also of large logits", () => {
  // torch.nn.functional.cross_entropy(tensor([[1, 2, 3], [1000, 0, -1000]]), tensor([2, 0]), reduction="sum")
  const { loss, right } = scoreLogits(Float32Array.of(1, 2, 3, 1000, 0, -1000), [2, 0], 3);
  assert.ok(Math.abs(loss - 0.40760597) < 1e-7, `${loss}`);
  assert.equal(right, 2);
  assert.equal(scoreLogits(Float32Array.of(1000, 0), [1], 2).loss, 1000);
  assert.deepEqual(scoreLogits(Float32Array.of(5, 5), [1], 2).predicted, [0], "the first of equals");
});

test("an evaluation is the mean over all batches", () => {
  const sum = new EvaluationSum(3);
  sum.add(Float32Array.of(1, 0, 0, 0, 1, 0), [0, 0]);
  sum.add(Float32Array.of(0, 1, 0), [1]);
  const { loss, accuracy } = sum.result();
  const right = Math.log(Math.E + 2) - 1;
  assert.ok(Math.abs(loss - (3 * right + 1) / 3) < 1e-7, `${loss}`);
  assert.equal(accuracy, 2 / 3);
});

test("the best epoch: accuracy, then loss, then the first; a first epoch without a right answer counts", () => {
  const state = initialState();
  const figures = { loss: 1, correct: 0, images: 4, rate: 0.1, seconds: 1 };
  const best = [
    [0, 9],
    [0, 9],
    [0.5, 3],
    [0.5, 2],
    [0.4, 1],
  ].map(([accuracy, loss]) => {
    endStep(state, figures, 2);
    return endEpoch(state, { accuracy: accuracy!, loss: loss! }, 1).best;
  });
  assert.deepEqual(best, [true, false, true, true, false]);
  assert.equal(state.best?.epoch, 4);
  assert.deepEqual(state.epochs[0], {
    ...{ epoch: 1, trainLoss: 1, trainAccuracy: 0, valLoss: 9, valAccuracy: 0 },
    ...{ learningRate: 0.1, seconds: 3, imagesPerSecond: 2, trainSeconds: 2, trainImages: 4 },
  });
  assert.deepEqual([state.step, state.epoch, state.position, state.trainSeconds], [5, 5, 0, 15]);
});

test("mirroring", () => {
  const pixels = Float32Array.from({ length: 27 }, (_, i) => i);
  mirrorRows(pixels, 3);
  assert.deepEqual([...pixels.subarray(0, 9)], [6, 7, 8, 3, 4, 5, 0, 1, 2]);
});
