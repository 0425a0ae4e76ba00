import assert from "node:assert/strict";
import { test } from "node:test";
import { checkClassIndex, fitStateDict, headClasses, type Tensor, type TensorSpec } from "@cardinal/checkpoint";

const specs: TensorSpec[] = [
  { name: "conv1.weight", shape: [2, 1, 3, 3] },
  { name: "bn1.weight", shape: [2] },
  { name: "bn1.num_batches_tracked", shape: [] },
  { name: "fc.weight", shape: [3, 2] },
  { name: "fc.bias", shape: [3] },
];
const headNames = ["fc.weight", "fc.bias"] as const;

const filled = (shape: readonly number[], value: number): Tensor => {
  const count = shape.reduce((product, side) => product * side, 1);
  return { shape, data: new Float32Array(count).fill(value) };
};

/** A file that fits, but for what is changed (undefined: left out). In another order than the specs. */
function file(changes: Record<string, Tensor | undefined> = {}): Map<string, Tensor> {
  const entries = specs.map(({ name, shape }, index): [string, Tensor] => [name, filled(shape, index + 1)]).reverse();
  const all = new Map(entries);
  all.set("bn1.num_batches_tracked", { shape: [], data: BigInt64Array.of(7n) });
  for (const [name, tensor] of Object.entries(changes)) {
    if (tensor === undefined) all.delete(name);
    else all.set(name, tensor);
  }
  return all;
}

const headOf = (classes: number) => ({
  "fc.weight": filled([classes, 2], 8),
  "fc.bias": filled([classes], 9),
});

test("tensors that fit come in the specs' order", () => {
  const { tensors, report } = fitStateDict(file(), specs, { headNames });
  assert.deepEqual(
    [...tensors].map(([name, { shape }]) => ({ name, shape })),
    specs,
  );
  assert.deepEqual(tensors.get("bn1.num_batches_tracked")!.data, BigInt64Array.of(7n));
  assert.deepEqual(report, { headClasses: 3, head: "from the file", notes: [] });
});

test("num_batches_tracked may be missing or a float", () => {
  const missing = fitStateDict(file({ "bn1.num_batches_tracked": undefined }), specs, { headNames });
  assert.deepEqual(missing.tensors.get("bn1.num_batches_tracked"), { shape: [], data: BigInt64Array.of(0n) });
  assert.deepEqual(missing.report.notes, ["1 num_batches_tracked were missing and are 0"]);
  const float = fitStateDict(file({ "bn1.num_batches_tracked": filled([], 12) }), specs);
  assert.deepEqual(float.tensors.get("bn1.num_batches_tracked")!.data, BigInt64Array.of(12n));
  assert.throws(() => fitStateDict(file({ "bn1.num_batches_tracked": filled([], 0.5) }), specs), {
    code: "state_dict_mismatch",
    message: /bn1\.num_batches_tracked is the value 0\.5, must be an integer/,
  });
});

test("everything that does not fit is named with both shapes and counted", () => {
  const wrong = file({
    "bn1.weight": undefined,
    "layer9.weight": filled([1], 0),
    "conv1.weight": filled([2, 1, 7, 7], 0),
    "fc.bias": { shape: [3], data: new BigInt64Array(3) },
  });
  assert.throws(() => fitStateDict(wrong, specs, { headNames }), {
    code: "state_dict_mismatch",
    message:
      "the tensors do not fit the architecture: 1 missing (bn1.weight); 1 unexpected (layer9.weight); " +
      "2 of another shape or type (conv1.weight is [2,1,7,7], must be [2,1,3,3], " +
      "fc.bias is int64 [3], must be float32 [3])",
    details: {
      missing: ["bn1.weight"],
      missingCount: 1,
      unexpected: ["layer9.weight"],
      unexpectedCount: 1,
      shapes: [
        { name: "conv1.weight", found: "[2,1,7,7]", expected: "[2,1,3,3]" },
        { name: "fc.bias", found: "int64 [3]", expected: "float32 [3]" },
      ],
      shapeCount: 2,
    },
  });
});

test("only the first of many are named", () => {
  const many = Array.from({ length: 30 }, (_, index) => ({ name: `layer${index}.weight`, shape: [1] }));
  assert.throws(() => fitStateDict(new Map(), many), {
    code: "state_dict_mismatch",
    message: /30 missing \(layer0\.weight, layer1\.weight, layer2\.weight, layer3\.weight, layer4\.weight, …\)$/,
  });
});

test("a head of another class count is refused with both numbers, or replaced by the new one", () => {
  const other = file(headOf(5));
  assert.equal(headClasses(other, "fc.weight"), 5);
  assert.throws(() => fitStateDict(other, specs, { headNames }), {
    code: "class_index_mismatch",
    message: "the class index has 3 classes, the model's head has 5",
    details: { classes: 3, headClasses: 5 },
  });
  const newHead = new Map(Object.entries(headOf(3)));
  const { tensors, report } = fitStateDict(other, specs, { headNames, newHead });
  assert.deepEqual([tensors.get("fc.weight"), tensors.get("fc.bias")], [...newHead.values()]);
  assert.deepEqual(report, {
    headClasses: 5,
    head: "new",
    notes: ["the file's head has 5 classes: a new one with 3 classes takes its place"],
  });
});

test("a head of the same class count stays, whatever newHead is", () => {
  const newHead = new Map(Object.entries(headOf(3)));
  const { tensors, report } = fitStateDict(file(), specs, { headNames, newHead });
  assert.equal(tensors.get("fc.weight")!.data[0], 4);
  assert.equal(report.head, "from the file");
});

test("a file without a head takes the new one; without a new one it is missing", () => {
  const body = file({ "fc.weight": undefined, "fc.bias": undefined });
  assert.throws(() => fitStateDict(body, specs, { headNames }), { message: /2 missing \(fc\.weight, fc\.bias\)/ });
  const newHead = new Map(Object.entries(headOf(3)));
  const { report } = fitStateDict(body, specs, { headNames, newHead });
  assert.deepEqual([report.head, report.headClasses], ["new", undefined]);
});

test("a head of other features or half a head is a mismatch, also with a new head", () => {
  const newHead = new Map(Object.entries(headOf(3)));
  const wide = file({ "fc.weight": filled([5, 9], 1), "fc.bias": filled([5], 1) });
  assert.throws(() => fitStateDict(wide, specs, { headNames, newHead }), {
    code: "state_dict_mismatch",
    message: /fc\.weight is \[5,9\], must be \[3,2\], fc\.bias is \[5\], must be \[3\]/,
  });
  assert.throws(() => fitStateDict(file({ "fc.bias": undefined }), specs, { headNames, newHead }), {
    message: /1 missing \(fc\.bias\)/,
  });
});

test("specs without a head leave the file's aside", () => {
  const { tensors, report } = fitStateDict(file(), specs.slice(0, 3), { headNames });
  assert.deepEqual([...tensors.keys()], ["conv1.weight", "bn1.weight", "bn1.num_batches_tracked"]);
  assert.deepEqual(report, { headClasses: 3, head: "none", notes: ["the head (fc.weight, fc.bias) was left aside"] });
});

test("a class index must have the head's size", () => {
  checkClassIndex(3, 3);
  assert.throws(() => checkClassIndex(10, 1000), {
    code: "class_index_mismatch",
    message: "the class index has 10 classes, the model's head has 1000",
  });
});
