import assert from "node:assert/strict";
import { test } from "node:test";
import { softmax, topK } from "../src/index.ts";

const classes = ["a", "b", "c", "d"];

test("softmax of small integers", () => {
  // exp(0), exp(1), exp(2) over their sum, from Python's math.exp in float64
  assert.deepEqual(Array.from(softmax([0, 1, 2])), [0.09003057317038046, 0.24472847105479764, 0.6652409557748218]);
});

test("softmax neither overflows nor underflows to nothing", () => {
  assert.deepEqual(Array.from(softmax([1000, 1000])), [0.5, 0.5]);
  assert.deepEqual(Array.from(softmax([-1000, -1000])), [0.5, 0.5]);
  assert.deepEqual(Array.from(softmax([3e38, -3e38])), [1, 0]);
});

test("a logit that is not finite is no answer", () => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    assert.throws(() => topK([0, bad], 1, classes), { code: "prediction_not_finite", message: /class 1/ });
  }
});

test("the best k, most probable first", () => {
  const top = topK(new Float32Array([0, 2, 1, -1]), 2, classes);
  assert.deepEqual(
    top.map(({ class: name, index }) => [name, index]),
    [
      ["b", 1],
      ["c", 2],
    ],
  );
  assert.ok(top[0]!.probability > top[1]!.probability);
});

test("all, and a k above the number of classes, give every class once; the probabilities sum to 1", () => {
  for (const k of ["all", 4, 100] as const) {
    const top = topK([0.3, -2, 5, 1], k, classes);
    assert.deepEqual(
      top.map(({ index }) => index),
      [2, 3, 0, 1],
    );
    assert.ok(Math.abs(top.reduce((sum, { probability }) => sum + probability, 0) - 1) < 1e-15);
  }
});

test("of equal logits the lower index comes first", () => {
  assert.deepEqual(
    topK([1, 2, 2, 1], "all", classes).map(({ index }) => index),
    [1, 2, 0, 3],
  );
});

test("logits decide the order where probabilities are both 0", () => {
  assert.deepEqual(
    topK([-3000, -2000, 0], "all", classes).map(({ index }) => index),
    [2, 1, 0],
  );
});
