import assert from "node:assert/strict";
import { test } from "node:test";
import { convolutionEngine, Optimizer, softmaxCrossEntropy, tf, trainStep } from "@cardinal/resnext/tfjs";
import { goldenParameters, readGolden, type TinyGolden } from "./golden-values.ts";
import { startTiny, trainSteps } from "./training-run.ts";

test("this process's libtensorflow has the native grouped convolution", () => {
  assert.equal(convolutionEngine(), "native");
});

test("training holds no tensor longer than its step", () => {
  using run = startTiny("tiny-odd");
  const { network, x, labels } = run;
  using optimizer = new Optimizer(network, { name: "adam" });
  const counts = Array.from({ length: 4 }, () => {
    trainStep(network, optimizer, { x, labels }, 1e-3);
    network.predict(x).dispose();
    network.features(x).dispose();
    return tf.memory().numTensors;
  });
  assert.deepEqual(counts, [counts[0], counts[0], counts[0], counts[0]]);
  network.forwardTrain(x).dispose();
  assert.equal(tf.memory().numTensors, counts[0]);
});

test("a network and its optimiser leave nothing behind", () => {
  const train = () => {
    using run = startTiny("tiny-even");
    using optimizer = new Optimizer(run.network, { name: "adam" });
    trainStep(run.network, optimizer, run, 1e-3);
  };
  train(); // makes what is kept for the life of the process
  const before = tf.memory().numTensors;
  train();
  assert.equal(tf.memory().numTensors, before);
});

test("an interrupted run that continues from its state ends bit-identical to one that was not", () => {
  using whole = startTiny("tiny-even");
  using wholeOptimizer = new Optimizer(whole.network, { name: "adamw", weightDecay: 0.01 });
  trainSteps(whole, wholeOptimizer, 4, 1e-2);
  using first = startTiny("tiny-even");
  using firstOptimizer = new Optimizer(first.network, { name: "adamw", weightDecay: 0.01 });
  trainSteps(first, firstOptimizer, 2, 1e-2);
  using second = startTiny("tiny-even");
  using secondOptimizer = new Optimizer(second.network, { name: "adamw", weightDecay: 0.01 });
  second.network.load(first.network.parameters());
  secondOptimizer.load(firstOptimizer.state());
  assert.equal(secondOptimizer.steps, 2);
  trainSteps(second, secondOptimizer, 2, 1e-2);
  assert.deepEqual(second.network.parameters(), whole.network.parameters());
  assert.deepEqual(secondOptimizer.state(), wholeOptimizer.state());
});

test("parameters given in and given out are copies", () => {
  const { architecture, numClasses } = readGolden<TinyGolden>("tiny-even");
  const parameters = goldenParameters(architecture, numClasses);
  using run = startTiny("tiny-even");
  run.network.load(parameters);
  for (const { data } of parameters.values()) if (data instanceof Float32Array) data.fill(7);
  const out = run.network.parameters();
  const expected = goldenParameters(architecture, numClasses);
  assert.deepEqual(out, expected);
  using optimizer = new Optimizer(run.network, { name: "adam" });
  trainStep(run.network, optimizer, run, 1e-2);
  assert.deepEqual(out, expected);
});

test("a batch of one trains, and a loss that is not finite updates nothing", () => {
  using run = startTiny("tiny-even");
  const { network } = run;
  using optimizer = new Optimizer(network, { name: "adam" });
  tf.tidy(() => {
    const one = tf.slice(run.x, [0, 0, 0, 0], [1, -1, -1, -1]);
    const { loss } = trainStep(network, optimizer, { x: one, labels: Int32Array.of(2) }, 1e-3);
    assert.ok(Number.isFinite(loss));
    const before = network.parameters().get("fc.weight");
    const infinite = tf.fill([1, 16, 16, 3], Number.POSITIVE_INFINITY);
    const result = trainStep(network, optimizer, { x: infinite, labels: Int32Array.of(2) }, 1e-3);
    assert.ok(!Number.isFinite(result.loss), `loss ${result.loss}`);
    assert.deepEqual(network.parameters().get("fc.weight"), before);
  });
});

test("cross entropy: class weights as PyTorch's, wrong labels refused", () => {
  tf.tidy(() => {
    const logits = tf.tensor2d([1, 2, 3, 1, 0, 0], [2, 3]);
    // torch.nn.CrossEntropyLoss(weight=[1, 2, 4])(logits, [2, 0]) and its gradient
    const { loss, correct, dLogits } = softmaxCrossEntropy(logits, Int32Array.of(2, 0), Float32Array.of(1, 2, 4));
    const rows = [Math.log(1 + Math.exp(-1) + Math.exp(-2)), Math.log(1 + 2 * Math.exp(-1))] as const;
    assert.ok(Math.abs(loss - (4 * rows[0] + rows[1]) / 5) < 1e-6);
    assert.equal(correct, 2);
    const first = Math.exp(-2) / (1 + Math.exp(-1) + Math.exp(-2));
    assert.ok(Math.abs(dLogits.dataSync()[0]! - (first * 4) / 5) < 1e-6);
    assert.throws(() => softmaxCrossEntropy(logits, Int32Array.of(3, 0)), /label 3 is none of 3 classes/);
    assert.throws(() => softmaxCrossEntropy(logits, Int32Array.of(0)), /1 labels for 2 rows/);
  });
});

test("an unknown stage and an optimiser's foreign state are refused", () => {
  assert.throws(
    () => startTiny("tiny-even", { trainable: "layer9" }),
    /conv1, layer1, layer2, layer3, head, not "layer9"/,
  );
  using run = startTiny("tiny-even");
  using adam = new Optimizer(run.network, { name: "adam" });
  using sgd = new Optimizer(run.network, { name: "sgd" });
  assert.throws(() => adam.load(sgd.state()), /exp_avg\.conv1\.weight is missing/);
});
