/** One training step of the bottlenecks of resnext50_32x4d at their real sizes, on two images. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Architecture, architecture, parameterSpecs } from "@cardinal/resnext";
import type { ConvolutionEngine } from "@cardinal/resnext/tfjs";
import { type Digest, type Packed, readGolden, relativeError, unpack } from "./golden-values.ts";
import { acceptDigests, lossAndGradients, type RunShape, startRun, values } from "./training-run.ts";

interface Golden extends RunShape {
  architecture: Architecture;
  loss: number;
  logits: Packed;
  gradients: Record<string, Digest>;
  statistics: Record<string, Digest>;
}

const { nets } = readGolden<{ nets: Golden[] }>("bottlenecks");

/** Gives the gradients. */
function checkStep(golden: Golden, engine: ConvolutionEngine) {
  using run = startRun(golden.architecture, golden, { engine });
  const { loss, logits, gradients } = lossAndGradients(run);
  assert.ok(relativeError(logits, unpack(golden.logits)) < 1e-4);
  assert.ok(Math.abs(loss / golden.loss - 1) < 1e-5, `loss ${loss}, PyTorch ${golden.loss}`);
  assert.deepEqual([...gradients.keys()], Object.keys(golden.gradients));
  acceptDigests(gradients, golden.gradients, 1e-3);
  acceptDigests(run.network.parameters(), golden.statistics, 1e-4);
  return gradients;
}

for (const golden of nets) {
  test(`${golden.architecture.name}: loss, gradients and running statistics are PyTorch's, in both engines`, () => {
    const native = checkStep(golden, "native");
    const split = checkStep(golden, "split");
    for (const name of native.keys()) {
      const error = relativeError(values(split, name), values(native, name));
      assert.ok(error < 1e-4, `${name} of the two engines: ${error}`);
    }
  });
}

test("the blocks are those of resnext50_32x4d, the first and a further one of every stage", () => {
  const real = architecture("resnext50_32x4d");
  const shapes = new Map(parameterSpecs(real, 10).map((spec) => [spec.name, spec.shape]));
  const seen = new Set<string>();
  for (const { architecture: arch, gradients } of nets) {
    const firstStage = 1 + real.planes.indexOf(arch.planes[0]!);
    for (const conv of Object.keys(gradients).filter((name) => name.endsWith(".conv3.weight"))) {
      const [stage, index] = conv.match(/\d+/g)!.map(Number) as [number, number];
      const prefix = `layer${stage}.${index}`;
      const isFirst = `${prefix}.downsample.0.weight` in gradients;
      const realPrefix = `layer${firstStage + stage - 1}.${isFirst ? 0 : 1}`;
      const tensors = Object.entries(gradients).filter(([name]) => name.startsWith(prefix));
      for (const [name, { shape }] of tensors) {
        assert.deepEqual(shape, shapes.get(name.replace(prefix, realPrefix)), `${arch.name} ${name}`);
      }
      seen.add(realPrefix);
    }
  }
  const all = [1, 2, 3, 4].flatMap((stage) => [`layer${stage}.0`, `layer${stage}.1`]);
  assert.deepEqual([...seen].sort(), all);
});
