/** Training with a part frozen. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { stageNames } from "@cardinal/resnext";
import { Optimizer, type OptimizerOptions, softmaxCrossEntropy, tf } from "@cardinal/resnext/tfjs";
import { readGolden, type TinyGolden, tinyNames } from "./golden-values.ts";
import { startTiny, trainSteps, values } from "./training-run.ts";

/** With decay, which would also move what has no gradient. */
const optimizers: OptimizerOptions[] = [
  { name: "adam", weightDecay: 0.1 },
  { name: "adamw", weightDecay: 0.1 },
  { name: "sgd", weightDecay: 0.1 },
];

for (const name of tinyNames) {
  for (const trainable of stageNames(readGolden<TinyGolden>(name).architecture).slice(1)) {
    test(`${name}, ${trainable} and on trainable: what lies before stays bit-identical, the rest learns`, () => {
      for (const options of optimizers) {
        using run = startTiny(name, { trainable });
        const { network } = run;
        const stages = stageNames(network.architecture);
        const frozen = stages.slice(0, stages.indexOf(trainable));
        // conv1 is the stage of bn1 too
        const isFrozen = (key: string) => frozen.includes(key.replace(/^bn1\b/, "conv1").split(".")[0]!);
        const before = network.parameters();
        using optimizer = new Optimizer(network, options);
        trainSteps(run, optimizer, 2, 1e-2);
        const after = network.parameters();
        for (const [key, { data }] of before) {
          if (isFrozen(key)) assert.deepEqual(after.get(key)!.data, data, `${options.name} ${key}`);
          else assert.notDeepEqual(after.get(key)!.data, data, `${options.name} ${key}`);
        }
        assert.ok(network.learned.every((spec) => !isFrozen(spec.name)));
        assert.ok([...optimizer.state().keys()].every((key) => !isFrozen(key.slice(key.indexOf(".") + 1))));
      }
    });
  }
}

test("the gradients of a partly frozen network are those of finite differences", () => {
  using run = startTiny("tiny-odd", { trainable: "layer2" });
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
