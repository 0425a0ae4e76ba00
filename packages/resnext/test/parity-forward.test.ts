import assert from "node:assert/strict";
import { test } from "node:test";
import { type Architecture, architecture, parameterCount, parameterSpecs } from "@cardinal/resnext";
import { referenceForward } from "@cardinal/resnext/reference";
import { accept, checkForward, forwardCases } from "./forward-parity.ts";
import { type ForwardGolden, readGolden, relativeError, type TinyGolden, tinyNames } from "./golden-values.ts";

for (const name of tinyNames) {
  test(`${name}: reference, ONNX Runtime and both tfjs engines give PyTorch's logits`, async () => {
    const golden = readGolden<TinyGolden>(name);
    const { architecture: arch } = golden;
    for (const one of forwardCases(arch, golden)) {
      accept(referenceForward(arch, one.parameters, one).logits, one, "reference", 1e-5);
    }
    await checkForward(arch, golden, ["native", "split"]);
  });
}

/** Variants that torchvision does not have: the goldens are of nets made of its blocks. */
type OwnGolden = ForwardGolden & { architecture: Architecture; keys: string[]; parameters: number };

async function checkOwnVariant(name: string) {
  const golden = readGolden<OwnGolden>(name);
  const arch = architecture(name);
  assert.deepEqual(arch, golden.architecture);
  const names = parameterSpecs(arch, golden.numClasses).map((spec) => spec.name);
  assert.deepEqual(names, golden.keys);
  assert.equal(parameterCount(arch, golden.numClasses), golden.parameters);
  await checkForward(arch, golden, ["native"]);
  return { arch, golden };
}

test("resnext14_8x4d gives the logits of a net of torchvision's blocks, in the reference too", async () => {
  const { arch, golden } = await checkOwnVariant("resnext14_8x4d");
  for (const one of forwardCases(arch, golden)) {
    accept(referenceForward(arch, one.parameters, one).logits, one, "reference", 1e-5);
  }
});

test("resnext29_8x64d is the paper's CIFAR net, and gives the logits of one of torchvision's blocks", async () => {
  const { golden } = await checkOwnVariant("resnext29_8x64d");
  // Table 7 of Xie et al. has 34.4 million.
  assert.equal((golden.parameters / 1e6).toFixed(1), "34.4");
});

test("resnet18 gives torchvision's logits", async () => {
  await checkForward(architecture("resnet18"), readGolden<ForwardGolden>("resnet18"), ["native"]);
});

test("resnext50_32x4d gives torchvision's logits", async () => {
  await checkForward(architecture("resnext50_32x4d"), readGolden<ForwardGolden>("resnext50_32x4d"), [
    "native",
    "split",
  ]);
});

test("the comparison sees a single logit that is off, and a NaN", () => {
  assert.ok(relativeError([1, 2, 3.001], [1, 2, 3]) > 1e-4);
  assert.ok(!(relativeError([1, Number.NaN, 3], [1, 2, 3]) < 1e-4));
});
