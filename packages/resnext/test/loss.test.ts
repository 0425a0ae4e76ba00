import assert from "node:assert/strict";
import { test } from "node:test";
import { featureChannels, initParameters } from "@cardinal/resnext";
import { GradientSum, Network, Optimizer, softmaxCrossEntropy, tf, trainStep } from "@cardinal/resnext/tfjs";
import { readGolden, type TinyGolden } from "./golden-values.ts";

const { architecture, numClasses } = readGolden<TinyGolden>("tiny-even");
const parameters = () => initParameters(architecture, numClasses, 3);

function pictures(count: number, from = 0): tf.Tensor4D {
  const side = 16;
  const data = Float32Array.from({ length: count * side * side * 3 }, (_, at) => Math.sin((at + from) ** 1.5));
  return tf.tensor4d(data, [count, side, side, 3]);
}

const close = (a: number, b: number, allowed = 1e-6) => assert.ok(Math.abs(a - b) <= allowed, `${a} and ${b}`);

test("label smoothing and class weights: the loss and gradient of the formula", () => {
  const rows = [
    [1, 2, 3],
    [0.5, -1, 0],
  ];
  const labels = [2, 0];
  const weights = [1, 2, 4];
  const smoothing = 0.1;
  // PyTorch: sum over rows of -sum_c ((1 - e) w_y [c = y] + e w_c / C) log p_c, over the sum of the labels' weights.
  const total = labels.reduce((sum, label) => sum + weights[label]!, 0);
  let expected = 0;
  const gradient: number[] = [];
  rows.forEach((row, at) => {
    const sum = row.reduce((s, value) => s + Math.exp(value), 0);
    const target = row.map(
      (_, c) => (c === labels[at] ? (1 - smoothing) * weights[c]! : 0) + (smoothing * weights[c]!) / 3,
    );
    const all = target.reduce((s, value) => s + value, 0);
    row.forEach((value, c) => {
      expected -= (target[c]! * (value - Math.log(sum))) / total;
      gradient.push(((Math.exp(value) / sum) * all - target[c]!) / total);
    });
  });
  tf.tidy(() => {
    const logits = tf.tensor2d(rows.flat(), [2, 3]);
    const result = softmaxCrossEntropy(logits, Int32Array.from(labels), Float32Array.from(weights), smoothing);
    close(result.loss, expected);
    assert.equal(result.weight, 5);
    for (const [at, value] of result.dLogits.dataSync<"float32">().entries()) close(value, gradient[at]!);
    // torch.nn.CrossEntropyLoss(label_smoothing=0.1) of [[1, 2, 3]] and label 2: 0.9 * 0.407606 + 0.1 * 1.407606
    close(softmaxCrossEntropy(tf.tensor2d([1, 2, 3], [1, 3]), Int32Array.of(2), undefined, 0.1).loss, 0.507606);
  });
});

test("gradients of two batches, accumulated, are those of one where no BatchNorm learns; memory levels off", () => {
  const labels = Int32Array.of(0, 1, 2, 1);
  const classWeights = Float32Array.from({ length: numClasses }, (_, at) => 1 + at);
  const result = ([cuts, calls]: [number[], number]) => {
    using network = new Network(architecture, numClasses, parameters(), { trainable: "head" });
    using optimizer = new Optimizer(network, { name: "sgd" });
    const all = pictures(4);
    let loss = 0;
    for (let call = 0; call < calls; call++) {
      using sum = new GradientSum(network);
      let start = 0;
      for (const end of cuts) {
        const x = tf.slice(all, [start, 0, 0, 0], [end - start, -1, -1, -1]);
        sum.add({ x, labels: labels.slice(start, end), classWeights });
        x.dispose();
        start = end;
      }
      loss = sum.apply(optimizer, 0.1).loss;
    }
    all.dispose();
    return { loss, weight: network.parameters().get("fc.weight")!.data as Float32Array };
  };
  const before = tf.memory().numTensors;
  const whole = result([[4], 2]);
  const parts = result([[1, 3, 4], 2]);
  close(whole.loss, parts.loss);
  for (const [at, value] of whole.weight.entries()) close(value, parts.weight[at]!);
  result([[1, 3, 4], 5]);
  assert.equal(tf.memory().numTensors, before);
});

test("a head trained on features ends where it ends when trained on the images", () => {
  const labels = Int32Array.of(0, 1, 2);
  const train = (onFeatures: boolean) => {
    using network = new Network(architecture, numClasses, parameters(), { trainable: "head" });
    using optimizer = new Optimizer(network, { name: "adam" });
    const images = pictures(3);
    const x = onFeatures ? network.features(images) : images;
    for (let step = 0; step < 3; step++) trainStep(network, optimizer, { x, labels }, 1e-2);
    const logits = tf.tidy(() => network.predict(x).dataSync());
    tf.dispose([x, images]);
    return { weight: network.parameters().get("fc.weight")!.data, logits };
  };
  assert.deepEqual(train(true), train(false));
  tf.tidy(() => {
    using whole = new Network(architecture, numClasses, parameters());
    const features = tf.zeros([1, featureChannels(architecture)]);
    assert.throws(() => whole.forwardTrain(features), /features train only the head, not "all"/);
    assert.throws(() => whole.predict(tf.zeros([1, 7])), /features must be float32 \[N, \d+\], not float32 \[1,7\]/);
  });
});

test("weight decay leaves BatchNorm and biases alone when asked to", () => {
  const x = pictures(2);
  for (const name of ["adam", "adamw", "sgd"] as const) {
    const trained = (weightDecay: number, decayNormAndBias: boolean) => {
      using network = new Network(architecture, numClasses, parameters());
      using optimizer = new Optimizer(network, { name, weightDecay, decayNormAndBias });
      trainStep(network, optimizer, { x, labels: Int32Array.of(0, 1) }, 1e-2);
      return network.parameters();
    };
    const [none, some, all] = [trained(0, true), trained(0.5, false), trained(0.5, true)];
    for (const tensor of ["conv1.weight", "fc.weight"]) {
      assert.notDeepEqual(some.get(tensor), none.get(tensor), `${name} ${tensor}`);
      assert.deepEqual(some.get(tensor), all.get(tensor), `${name} ${tensor}`);
    }
    for (const tensor of ["bn1.weight", "fc.bias", "bn1.bias"]) {
      assert.deepEqual(some.get(tensor), none.get(tensor), `${name} ${tensor}`);
    }
    // Adam's first step is the gradient's sign alone, which decay turns in few places.
    for (const tensor of name === "adam" ? ["bn1.weight"] : ["bn1.weight", "fc.bias"]) {
      assert.notDeepEqual(all.get(tensor), none.get(tensor), `${name} ${tensor}`);
    }
  }
  x.dispose();
});
