/**
 * resnext50_32x4d with two blocks a stage, on two images of 224x224: the bottlenecks of every stage at their real
 * sizes, from 56x56x64 to 7x7x2048, one with stride 2 and a down-sampling shortcut (stage 1: stride 1) and one without.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { architecture, type ParameterTensor, parameterSpecs } from "@cardinal/resnext";
import type { ConvolutionEngine } from "@cardinal/resnext/tfjs";
import { type Digest, type Packed, readGolden, relativeError, unpack } from "./golden-values.ts";
import { acceptDigests, lossAndGradients, startRun, values } from "./training-run.ts";

interface Golden {
  batch: number;
  side: number;
  numClasses: number;
  loss: number;
  logits: Packed;
  gradients: Record<string, Digest>;
  statistics: Record<string, Digest>;
}

const golden = readGolden<Golden>("bottlenecks");
const arch = { ...architecture("resnext50_32x4d"), name: "bottlenecks", layers: [2, 2, 2, 2] };
const results = new Map<ConvolutionEngine, ReadonlyMap<string, ParameterTensor>>();

for (const engine of ["native", "split"] as const) {
  test(`${engine}: loss, gradients and running statistics are PyTorch's`, () => {
    using run = startRun(arch, golden, { engine });
    const { loss, logits, gradients } = lossAndGradients(run);
    results.set(engine, gradients);
    assert.ok(relativeError(logits, unpack(golden.logits)) < 1e-4);
    assert.ok(Math.abs(loss - golden.loss) < 1e-5 * golden.loss, `loss ${loss}, PyTorch ${golden.loss}`);
    assert.deepEqual([...gradients.keys()], Object.keys(golden.gradients));
    acceptDigests(gradients, golden.gradients, 1e-3);
    acceptDigests(run.network.parameters(), golden.statistics, 1e-4);
  });
}

test("the sizes are those of resnext50_32x4d, both kinds of block in every stage", () => {
  const real = new Map(parameterSpecs(architecture("resnext50_32x4d"), golden.numClasses).map((s) => [s.name, s.shape]));
  for (const { name, shape } of parameterSpecs(arch, golden.numClasses)) assert.deepEqual(shape, real.get(name), name);
  for (const stage of [1, 2, 3, 4]) {
    assert.ok(golden.gradients[`layer${stage}.0.downsample.0.weight`], `stage ${stage}`);
    assert.ok(golden.gradients[`layer${stage}.1.conv2.weight`], `stage ${stage}`);
  }
});

test("every value of every gradient is the same in both forms of the grouped convolution", () => {
  const [native, split] = [results.get("native")!, results.get("split")!];
  for (const name of native.keys()) {
    const error = relativeError(values(split, name), values(native, name));
    assert.ok(error < 1e-3, `${name}: ${error}`);
  }
});
