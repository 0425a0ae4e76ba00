/** Small nets: one training step, and three steps of each optimiser, against PyTorch's. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Optimizer, type OptimizerOptions } from "@cardinal/resnext/tfjs";
import { readGolden, relativeError, type TinyGolden, tinyNames, unpack } from "./golden-values.ts";
import { acceptDigests, lossAndGradients, startTiny, trainSteps, values } from "./training-run.ts";

for (const name of tinyNames) {
  for (const engine of ["native", "split"] as const) {
    test(`${name}, ${engine}: loss, gradients and running statistics are PyTorch's`, () => {
      using run = startTiny(name, { engine });
      const { golden, network } = run;
      const { loss, logits, gradients } = lossAndGradients(run);
      assert.ok(relativeError(logits, unpack(golden.train.logits)) < 1e-4);
      assert.ok(Math.abs(loss - golden.train.loss) < 1e-5, `loss ${loss}, PyTorch ${golden.train.loss}`);
      assert.deepEqual([...gradients.keys()], Object.keys(golden.train.gradients));
      for (const [key, packed] of Object.entries(golden.train.gradients)) {
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

for (const name of tinyNames) {
  for (const trainable of Object.keys(readGolden<TinyGolden>(name).frozen)) {
    test(`${name}, all before ${trainable} frozen: loss and gradients are PyTorch's`, () => {
      using run = startTiny(name, { trainable });
      const golden = run.golden.frozen[trainable]!;
      const { loss, gradients } = lossAndGradients(run);
      assert.ok(Math.abs(loss - golden.loss) < 1e-5, `loss ${loss}, PyTorch ${golden.loss}`);
      assert.deepEqual([...gradients.keys()], Object.keys(golden.gradients));
      acceptDigests(gradients, golden.gradients, 1e-3);
    });
  }
}

/** By their names in make.py, with its values. */
const optimizers: Record<string, OptimizerOptions> = {
  adam: { name: "adam" },
  "adam-decay": { name: "adam", weightDecay: 0.1 },
  adamw: { name: "adamw", weightDecay: 0.1 },
  sgd: { name: "sgd", weightDecay: 0.1, momentum: 0.9 },
};

for (const name of tinyNames) {
  for (const [optimizerName, options] of Object.entries(optimizers)) {
    test(`${name}: three steps of ${optimizerName} end where PyTorch's do`, () => {
      using run = startTiny(name);
      const { golden, network } = run;
      using optimizer = new Optimizer(network, options);
      trainSteps(run, optimizer, 3, golden.learningRate);
      const after = network.parameters();
      const expected = golden.optimizers[optimizerName]!;
      // Adam divides by the gradient's size, so where that is rounding only its steps are noise.
      const gradients = new Map(Object.entries(golden.train.gradients).map(([key, packed]) => [key, unpack(packed)]));
      assert.deepEqual(Object.keys(expected.parameters), [...gradients.keys()]);
      acceptDigests(after, expected.parameters, 1e-4, (key, at) => Math.abs(gradients.get(key)![at]!) > 1e-6);
      acceptDigests(after, expected.statistics, 1e-4);
      assert.deepEqual(after.get("bn1.num_batches_tracked")!.data, BigInt64Array.of(3n));
    });
  }
}
