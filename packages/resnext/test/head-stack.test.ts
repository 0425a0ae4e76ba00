import assert from "node:assert/strict";
import { test } from "node:test";
import { featureChannels, initHead, initParameters } from "@cardinal/resnext";
import { GradientSum, type HeadOptions, HeadStack, labelWeight, Network, Optimizer, tf } from "@cardinal/resnext/tfjs";
import { readGolden, type TinyGolden } from "./golden-values.ts";

const { architecture } = readGolden<TinyGolden>("tiny-even");
const classes = 3;
const channels = featureChannels(architecture);
const shape = { channels, classes };
const start = initHead(architecture, classes, 7);

/** Batches of the same length whose features separate the classes. */
const batches = Array.from({ length: 12 }, (_, step) => {
  const labels = Int32Array.from({ length: 8 }, (_, row) => (row * 5 + step) % classes);
  const features = Float32Array.from({ length: 8 * channels }, (_, at) => {
    const row = Math.floor(at / channels);
    return Math.sin((at + step * 31) ** 1.5) + (at % classes === labels[row] ? 1 : 0);
  });
  return { labels, features };
});
const factor = (step: number) => (step < 3 ? (step + 1) / 3 : 1 - step / 40);

const recipes: HeadOptions[] = [
  { name: "adam", learningRate: 1e-2 },
  { name: "adam", learningRate: 1e-1, weightDecay: 1e-2 },
  { name: "sgd", learningRate: 1e-1, momentum: 0.8 },
  { name: "adamw", learningRate: 1e-3, weightDecay: 0.1 },
  { name: "adamw", learningRate: 3e-2, weightDecay: 0.5, decayNormAndBias: false },
  { name: "sgd", learningRate: 1e-3, momentum: 0.8, weightDecay: 0.3, decayNormAndBias: false },
];
const heads = new Map(recipes.map((recipe, id) => [id, recipe]));

interface LossOptions {
  classWeights?: Float32Array;
  labelSmoothing?: number;
  /** Rows of each part that a step's batch is cut into. */
  part?: number;
}

function parts({ labels, features }: (typeof batches)[number], part = labels.length) {
  return Array.from({ length: labels.length / part }, (_, at) => ({
    x: tf.tensor2d(features.slice(at * part * channels, (at + 1) * part * channels), [part, channels]),
    labels: labels.slice(at * part, (at + 1) * part),
  }));
}

/** The same recipe in a network of its own, with the optimiser that trains whole networks. */
function alone(recipe: HeadOptions, { part, ...loss }: LossOptions) {
  const parameters = new Map([...initParameters(architecture, classes, 1), ...start]);
  using network = new Network(architecture, classes, parameters, { trainable: "head" });
  using optimizer = new Optimizer(network, recipe);
  const losses = batches.map((batch, step) => {
    using sum = new GradientSum(network);
    for (const { x, labels } of parts(batch, part)) {
      sum.add({ x, labels, ...loss });
      x.dispose();
    }
    return sum.apply(optimizer, recipe.learningRate * factor(step));
  });
  return { losses, parameters: network.parameters() };
}

function steps(stack: HeadStack, from: number, to: number, { part, ...loss }: LossOptions = {}) {
  return batches.slice(from, to).map((batch, at) => {
    const sums = new Map<number, { loss: number; correct: number }>();
    const weight = labelWeight(batch.labels, loss.classWeights);
    for (const { x, labels } of parts(batch, part)) {
      for (const [id, figures] of stack.add({ x, labels, weight, ...loss })) {
        const sum = sums.get(id) ?? { loss: 0, correct: 0 };
        sums.set(id, { loss: sum.loss + figures.loss, correct: sum.correct + figures.correct });
      }
      x.dispose();
    }
    stack.apply(factor(from + at), from + at + 1);
    return sums;
  });
}

const near = (a: number, b: number, allowed: number) => Math.abs(a - b) <= allowed * Math.max(1, Math.abs(b));

for (const [title, options] of [
  ["plain", {}],
  [
    "with class weights and label smoothing, in batches of half a step",
    { classWeights: Float32Array.of(1, 3, 0.5), labelSmoothing: 0.1, part: 4 },
  ],
] as const) {
  test(`each head of a stack gets the numbers that its recipe gets alone: ${title}`, () => {
    using stack = HeadStack.fresh(shape, heads, start);
    const figures = steps(stack, 0, batches.length, options);
    const trained = stack.parameters([...heads.keys()]);
    for (const [id, recipe] of heads) {
      const expected = alone(recipe, options);
      expected.losses.forEach(({ loss, correct }, step) => {
        const found = figures[step]!.get(id)!;
        assert.ok(near(found.loss, loss, 1e-4), `head ${id} step ${step}: loss ${found.loss}, alone ${loss}`);
        assert.equal(found.correct, correct, `head ${id} step ${step}`);
      });
      assert.notEqual(expected.losses[0]!.loss, expected.losses.at(-1)!.loss);
      for (const name of ["fc.weight", "fc.bias"]) {
        const [got, wanted] = [trained.get(id)!.get(name)!, expected.parameters.get(name)!];
        assert.deepEqual(got.shape, wanted.shape);
        for (const [at, value] of (wanted.data as Float32Array).entries()) {
          assert.ok(near((got.data as Float32Array)[at]!, value, 1e-4), `head ${id} ${name}[${at}]`);
        }
      }
    }
  });
}

test("a restored stack goes on bit for bit, also after heads were left out", () => {
  using undisturbed = HeadStack.fresh(shape, heads, start);
  steps(undisturbed, 0, 5);
  undisturbed.keep([1, 2, 5]);
  steps(undisturbed, 5, 12);

  using first = HeadStack.fresh(shape, heads, start);
  steps(first, 0, 5);
  const kept = [1, 2, 5];
  first.keep(kept);
  assert.deepEqual(first.ids, kept);
  steps(first, 5, 8);
  const some = new Map(kept.map((id) => [id, heads.get(id)!]));
  using second = HeadStack.restored(shape, some, first.state());
  steps(second, 8, 12);
  assert.deepEqual(second.state(), undisturbed.state());
  assert.throws(() => HeadStack.restored(shape, heads, first.state()), RangeError);
});

test("a head that diverges leaves the others alone, and a stack frees what it holds", () => {
  const before = tf.memory().numTensors;
  {
    using calm = HeadStack.fresh(shape, new Map([[0, recipes[2]!]]), start);
    steps(calm, 0, 12);
    const wild: HeadOptions = { ...recipes[2]!, learningRate: 1e6 };
    using both = HeadStack.fresh(
      shape,
      new Map([
        [0, recipes[2]!],
        [1, { ...wild, weightDecay: 1e3 }],
      ]),
      start,
    );
    const last = steps(both, 0, 12).at(-1)!;
    assert.ok(!Number.isFinite(last.get(1)!.loss));
    const [found, expected] = [both.parameters([0]).get(0)!, calm.parameters([0]).get(0)!];
    for (const [at, value] of (expected.get("fc.weight")!.data as Float32Array).entries()) {
      assert.ok(near((found.get("fc.weight")!.data as Float32Array)[at]!, value, 1e-4));
    }
    const x = tf.tensor2d(batches[0]!.features, [8, channels]);
    assert.equal(both.logits(x).get(0)!.length, 8 * classes);
    x.dispose();
    both.keep([0]);
  }
  assert.equal(tf.memory().numTensors, before);
});
