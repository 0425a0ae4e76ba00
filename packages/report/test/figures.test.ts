/** The figures, against numbers worked out by hand or by other people's software. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Judge, type JudgedImage, splitDuplicates, trainingPhases } from "@cardinal/report";

const image = (path: string, label: number, sha256 = "0".repeat(64)): JudgedImage => ({ path, sha256, label });

const near = (actual: number, expected: number, tolerance = 1e-6) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected}`);

/** Logits whose softmax gives these probabilities. */
const logits = (...probabilities: number[]) => Float32Array.from(probabilities, Math.log);

test("loss, top-1 and top-5; of equal logits the first wins", () => {
  const judge = new Judge(["a", "b", "c", "d", "e", "f", "g"]);
  judge.add(Float32Array.of(1, 2, 3, 4, 5, 6, 7), [image("sixth", 1)]);
  judge.add(Float32Array.of(1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0), [image("fifth", 2), image("tie, fifth", 4)]);
  judge.add(Float32Array.of(0, 0, 0, 0, 0, 0, 0), [image("tie, first", 0)]);
  judge.add(Float32Array.of(1000, 0, 0, 0, 0, 0, -1000), [image("large", 0)]);
  const { evaluation } = judge.result();
  assert.equal(evaluation.images, 5);
  assert.equal(evaluation.top1, 2 / 5);
  assert.equal(evaluation.top5, 4 / 5);
  // torch.nn.functional.cross_entropy of the same rows and labels
  near(evaluation.loss, (5.4577627 + 4.4577627 + 2 * 1.9459101 + 0) / 5);
});

test("confusion, precision, recall, F1 and averages, as scikit-learn has them", () => {
  // true: a a a b b; predicted: a b b b a. sklearn.metrics.classification_report(zero_division=0), class c without images.
  const judge = new Judge(["a", "b", "c"]);
  for (const [label, predicted] of [
    [0, 0],
    [0, 1],
    [0, 1],
    [1, 1],
    [1, 0],
  ] as const) {
    // biome-ignore format: pairs
    judge.add(Float32Array.from([0, 1, 2], (index) => (index === predicted ? 2 : 0)), [image("x", label)]);
  }
  const { confusion, classes, evaluation } = judge.result();
  assert.deepEqual(confusion, [
    [1, 2, 0],
    [1, 1, 0],
    [0, 0, 0],
  ]);
  assert.deepEqual(classes, [
    { class: "a", images: 3, precision: 1 / 2, recall: 1 / 3, f1: 2 / 5 },
    { class: "b", images: 2, precision: 1 / 3, recall: 1 / 2, f1: 2 / 5 },
    { class: "c", images: 0, precision: 0, recall: 0, f1: 0 },
  ]);
  near(evaluation.averages.macro.precision, 5 / 12);
  near(evaluation.averages.weighted.recall, 2 / 5);
  assert.deepEqual(evaluation.confusedPairs, [
    { class: "a", predicted: "b", images: 2, share: 2 / 3 },
    { class: "b", predicted: "a", images: 1, share: 1 / 2 },
  ]);
});

test("calibration: 15 bins, each without its lower end", () => {
  const judge = new Judge(["a", "b"]);
  judge.add(logits(0.9, 0.1), [image("right", 0)]); // bin 14: 13/15 = 0.8667 < 0.9
  judge.add(logits(0.9, 0.1), [image("wrong", 1)]);
  judge.add(logits(0.6, 0.4), [image("right", 0)]); // bin 9: 8/15 < 0.6 <= 9/15, up to the rounding of a float32
  judge.add(Float32Array.of(0, 0), [image("half", 0)]); // 0.5: bin 8
  judge.add(Float32Array.of(1000, 0), [image("sure", 0)]); // 1: the last bin
  const { calibration } = judge.result().evaluation;
  assert.equal(calibration.bins.length, 15);
  const filled = calibration.bins.flatMap(({ images }, index) => (images > 0 ? [[index, images]] : []));
  assert.deepEqual(filled.at(0), [7, 1]);
  assert.deepEqual(filled.slice(-2), [[13, 2], [14, 1]]); // biome-ignore format: pairs
  // |2 * 0.9 - 1| + |0.6 - 1| + |0.5 - 1| + |1 - 1|, over 5 images
  near(calibration.ece, (0.8 + 0.4 + 0.5) / 5);
  near(calibration.bins[13]!.confidence!, 0.9);
  assert.equal(calibration.bins[13]!.accuracy, 0.5);
  assert.equal(calibration.bins[0]!.confidence, undefined);
});

test("of any number of mistakes the 20 most confident are kept, the first of equals first", () => {
  const judge = new Judge(["a", "b"]);
  const confidence = (index: number) => 0.5 + ((index * 37) % 100) / 250;
  for (let index = 0; index < 300; index++) {
    const p = confidence(index);
    judge.add(logits(p, 1 - p), [image(`wrong ${index}`, 1)]);
    judge.add(logits(0.999, 0.001), [image(`right ${index}`, 0)]);
  }
  const { mistakes } = judge.result().evaluation;
  assert.equal(mistakes.length, 20);
  const order = Array.from({ length: 300 }, (_, index) => index).sort((a, b) => confidence(b) - confidence(a) || a - b);
  assert.deepEqual(
    mistakes.map(({ image }) => image),
    order.slice(0, 20).map((index) => `wrong ${index}`),
  );
  assert.deepEqual([mistakes[0]!.class, mistakes[0]!.predicted], ["b", "a"]);
  near(mistakes[0]!.probability + mistakes[0]!.classProbability, 1);
});

test("with 20,000 classes only what occurs takes memory, and there is no matrix", () => {
  const judge = new Judge(Array.from({ length: 20_000 }, (_, index) => `class ${index}`));
  for (let label = 0; label < 50; label++) {
    const row = new Float32Array(20_000);
    row[label % 2 === 0 ? label : 19_999] = 9;
    judge.add(row, [image(`${label}`, label)]);
  }
  const { confusion, classes, evaluation } = judge.result();
  assert.deepEqual(confusion, []);
  assert.equal(classes.length, 20_000);
  assert.equal(evaluation.top1, 0.5);
  assert.equal(evaluation.confusedPairs.length, 25);
  assert.deepEqual(evaluation.averages.macro.recall, 0.5, "over the classes that have images");
});

test("duplicates between splits, with their paths and whether they have one class", () => {
  const [one, two, three] = ["1", "2", "3"].map((digit) => digit.repeat(64)) as [string, string, string];
  const train = [image("t/a", 0, one), image("t/b", 0, one), image("t/c", 1, two), image("t/d", 1, three)];
  const val = [image("v/a", 0, one), image("v/c", 0, two), image("v/c again", 0, two), image("v/e", 1, "4".repeat(64))];
  assert.deepEqual(splitDuplicates(train, val), {
    ...{ contents: 2, validationImages: 3, otherClass: 1 },
    examples: [
      { sha256: one, train: ["t/a", "t/b"], val: ["v/a"], sameClass: true },
      { sha256: two, train: ["t/c"], val: ["v/c", "v/c again"], sameClass: false },
    ],
  });
});

test("time and images a second by phase", () => {
  const epoch = { trainLoss: 1, trainAccuracy: 1, valLoss: 1, valAccuracy: 1, learningRate: 1, imagesPerSecond: 10 };
  const epochs = [
    { epoch: 1, ...epoch, seconds: 12, trainSeconds: 10, trainImages: 100 },
    { epoch: 2, ...epoch, seconds: 7, trainSeconds: 5, trainImages: 50 },
  ];
  const judge = { images: 20, seconds: 4 };
  assert.deepEqual(trainingPhases({ epochs, trainSeconds: 25, validationImages: 20, judge, exportSeconds: 3 }), [
    { phase: "prepare", seconds: 6 },
    { phase: "train", seconds: 15, images: 150, imagesPerSecond: 10 },
    { phase: "validate", seconds: 4, images: 40, imagesPerSecond: 10 },
    { phase: "judge", seconds: 4, images: 20, imagesPerSecond: 5 },
    { phase: "export", seconds: 3 },
  ]);
});
