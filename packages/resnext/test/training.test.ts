import assert from "node:assert/strict";
import { test } from "node:test";
import type { ParameterTensor } from "@cardinal/resnext";
import {
  convolutionEngine,
  Network,
  type NetworkOptions,
  Optimizer,
  type OptimizerOptions,
  softmaxCrossEntropy,
  tf,
  trainStep,
} from "@cardinal/resnext/tfjs";
import {
  goldenImages,
  goldenParameters,
  readGolden,
  relativeError,
  type TinyGolden,
  tinyNames,
  toNhwc,
  unpack,
} from "./golden-values.ts";

function start(name: (typeof tinyNames)[number], options: NetworkOptions = {}) {
  const golden = readGolden<TinyGolden>(name);
  const { architecture, numClasses, batch, side } = golden;
  const network = new Network(architecture, numClasses, goldenParameters(architecture, numClasses), options);
  const x = tf.tensor4d(toNhwc(goldenImages(batch, side), batch, side), [batch, side, side, 3]);
  const labels = Int32Array.from({ length: batch }, (_, index) => index % numClasses);
  const end = () => {
    network.dispose();
    x.dispose();
  };
  return { golden, network, x, labels, [Symbol.dispose]: end };
}

function values(parameters: ReadonlyMap<string, ParameterTensor>, name: string): Float32Array {
  return parameters.get(name)!.data as Float32Array;
}

for (const name of tinyNames) {
  for (const engine of ["native", "split"] as const) {
    test(`${name}, ${engine}: loss, gradients and running statistics are PyTorch's`, () => {
      using run = start(name, { engine });
      const { golden, network, labels } = run;
      const pass = network.forwardTrain(run.x);
      assert.ok(relativeError(pass.logits.dataSync(), unpack(golden.train.logits)) < 1e-4);
      const { loss, dLogits } = softmaxCrossEntropy(pass.logits, labels);
      assert.ok(Math.abs(loss - golden.train.loss) < 1e-5, `loss ${loss}, PyTorch ${golden.train.loss}`);
      const tensors = network.backward(pass, dLogits);
      const gradients = network.toParameters(tensors);
      tf.dispose([...tensors.values(), dLogits]);
      const expected = Object.entries(golden.train.gradients);
      assert.deepEqual([...gradients.keys()], Object.keys(golden.train.gradients));
      for (const [key, packed] of expected) {
        assert.deepEqual(gradients.get(key)!.shape, packed.shape, key);
        const error = relativeError(values(gradients, key), unpack(packed));
        assert.ok(error < 1e-3, `${key}: ${error}`);
      }
      const after = network.parameters();
      for (const [key, packed] of Object.entries(golden.train.statistics)) {
        const error = relativeError(values(after, key), unpack(packed));
        assert.ok(error < 1e-5, `${key}: ${error}`);
      }
      assert.deepEqual(after.get("bn1.num_batches_tracked")!.data, BigInt64Array.of(1n));
    });
  }
}

const optimizers: Record<string, OptimizerOptions> = {
  adam: { name: "adam" },
  "adam-decay": { name: "adam", weightDecay: 0.1 },
  adamw: { name: "adamw", weightDecay: 0.1 },
  sgd: { name: "sgd", weightDecay: 0.1 },
};

for (const name of tinyNames) {
  for (const optimizerName of Object.keys(readGolden<TinyGolden>(name).optimizers)) {
    test(`${name}: three steps of ${optimizerName} end where PyTorch's do`, () => {
      using run = start(name);
      const { golden, network, x, labels } = run;
      using optimizer = new Optimizer(network, optimizers[optimizerName]!);
      for (let step = 0; step < 3; step++) trainStep(network, optimizer, { x, labels }, golden.learningRate);
      const after = network.parameters();
      for (const [key, packed] of Object.entries(golden.optimizers[optimizerName]!)) {
        // Adam divides by the gradient's size, so where that is rounding only its steps are noise.
        const gradient = unpack(golden.train.gradients[key]!);
        const counts = (_: number, index: number) => Math.abs(gradient[index]!) > 1e-6;
        const expected = unpack(packed).filter(counts);
        const error = relativeError(values(after, key).filter(counts), expected);
        assert.ok(error < 1e-4, `${key}: ${error}`);
      }
    });
  }
}

test("this process's libtensorflow has the native grouped convolution", () => {
  assert.equal(convolutionEngine(), "native");
});

test("training holds no tensor longer than its step", () => {
  using run = start("tiny-odd");
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
  const before = tf.memory().numTensors;
  {
    using run = start("tiny-even");
    using optimizer = new Optimizer(run.network, { name: "adam" });
    trainStep(run.network, optimizer, run, 1e-3);
  }
  // Masks of the diagonal blocks stay, one for each block shape of the process.
  assert.ok(tf.memory().numTensors - before <= 1);
});

for (const trainable of ["layer3", "head"]) {
  test(`trainable ${trainable}: what lies before it stays bit-identical, the rest has the full gradients`, () => {
    using run = start("tiny-even", { trainable });
    const { network, x, labels } = run;
    const before = network.parameters();
    using optimizer = new Optimizer(network, { name: "adam" });
    for (let step = 0; step < 2; step++) trainStep(network, optimizer, { x, labels }, 1e-2);
    const learns = (name: string) => name.startsWith("fc.") || (trainable === "layer3" && name.startsWith("layer3."));
    for (const [name, { data }] of network.parameters()) {
      if (learns(name)) assert.notDeepEqual(data, before.get(name)!.data, name);
      else assert.deepEqual(data, before.get(name)!.data, name);
    }
    assert.ok(network.learned.every((spec) => learns(spec.name)));
  });
}

test("the gradients of a partly frozen network are those of finite differences", () => {
  using run = start("tiny-odd", { trainable: "layer2" });
  const { network, x, labels } = run;
  const lossOf = () => {
    const pass = network.forwardTrain(x);
    const { loss, dLogits } = softmaxCrossEntropy(pass.logits, labels);
    return { loss, dLogits, pass };
  };
  const { dLogits, pass } = lossOf();
  const tensors = network.backward(pass, dLogits);
  const gradients = network.toParameters(tensors);
  tf.dispose([...tensors.values(), dLogits]);
  const original = network.parameters();
  for (const name of ["layer2.0.conv2.weight", "layer2.0.downsample.0.weight", "layer2.1.bn3.bias"]) {
    const gradient = values(gradients, name);
    const index = gradient.reduce((best, value, at) => (Math.abs(value) > Math.abs(gradient[best]!) ? at : best), 0);
    const lossAt = (shift: number) => {
      const data = values(original, name).slice();
      data[index]! += shift;
      network.load(new Map(original).set(name, { shape: original.get(name)!.shape, data }));
      const { loss, dLogits, pass } = lossOf();
      pass.dispose();
      dLogits.dispose();
      return loss;
    };
    const difference = (lossAt(2e-3) - lossAt(-2e-3)) / 4e-3;
    assert.ok(Math.abs(difference / gradient[index]! - 1) < 0.02, `${name}: ${gradient[index]} and ${difference}`);
  }
});

test("an interrupted run that continues from its state ends bit-identical to one that was not", () => {
  const steps = (run: ReturnType<typeof start>, optimizer: Optimizer, count: number) => {
    for (let step = 0; step < count; step++) trainStep(run.network, optimizer, run, 1e-2);
  };
  using whole = start("tiny-even");
  using wholeOptimizer = new Optimizer(whole.network, { name: "adamw", weightDecay: 0.01 });
  steps(whole, wholeOptimizer, 4);
  using first = start("tiny-even");
  using firstOptimizer = new Optimizer(first.network, { name: "adamw", weightDecay: 0.01 });
  steps(first, firstOptimizer, 2);
  using second = start("tiny-even");
  using secondOptimizer = new Optimizer(second.network, { name: "adamw", weightDecay: 0.01 });
  second.network.load(first.network.parameters());
  secondOptimizer.load(firstOptimizer.state());
  assert.equal(secondOptimizer.steps, 2);
  steps(second, secondOptimizer, 2);
  assert.deepEqual(second.network.parameters(), whole.network.parameters());
  assert.deepEqual(secondOptimizer.state(), wholeOptimizer.state());
});

test("parameters given in and given out are copies", () => {
  const { architecture, numClasses } = readGolden<TinyGolden>("tiny-even");
  const parameters = goldenParameters(architecture, numClasses);
  using run = start("tiny-even");
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
  using run = start("tiny-even");
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
  assert.throws(() => start("tiny-even", { trainable: "layer9" }), /conv1, layer1, layer2, layer3, head, not "layer9"/);
  using run = start("tiny-even");
  using adam = new Optimizer(run.network, { name: "adam" });
  using sgd = new Optimizer(run.network, { name: "sgd" });
  assert.throws(() => adam.load(sgd.state()), /exp_avg\.conv1\.weight is missing/);
});
