import assert from "node:assert/strict";
import { test } from "node:test";
import { exportOnnx } from "@cardinal/resnext/onnx";
import { referenceForward } from "@cardinal/resnext/reference";
import { Network, tf } from "@cardinal/resnext/tfjs";
import { predict, runOnnx } from "./forward-parity.ts";
import {
  goldenImages,
  goldenParameters,
  readGolden,
  relativeError,
  type TinyGolden,
  tinyNames,
} from "./golden-values.ts";

for (const name of tinyNames) {
  test(`${name}: features are the same in the reference, ONNX Runtime and both tfjs engines`, async () => {
    const { architecture: arch, numClasses, batch, side } = readGolden<TinyGolden>(name);
    const parameters = goldenParameters(arch, numClasses);
    const input = { batch, side, data: goldenImages(batch, side) };
    const { features } = referenceForward(arch, parameters, input);
    const onnx = await runOnnx(exportOnnx(arch, parameters, { imageSize: side }), input);
    assert.ok(relativeError(onnx.features!, features) < 1e-4);
    for (const engine of ["native", "split"] as const) {
      using network = new Network(arch, numClasses, parameters, { engine });
      assert.ok(relativeError(predict(network, input).features, features) < 1e-4, engine);
    }
  });
}

test("an exported backbone has features only and needs no head", async () => {
  const { architecture: arch, numClasses, batch, side } = readGolden<TinyGolden>("tiny-even");
  const parameters = goldenParameters(arch, numClasses);
  const input = { batch, side, data: goldenImages(batch, side) };
  const { features } = referenceForward(arch, parameters, input);
  parameters.delete("fc.weight");
  parameters.delete("fc.bias");
  const file = exportOnnx(arch, parameters, { imageSize: side, includeTop: false });
  const onnx = await runOnnx(file, input, ["features"]);
  assert.ok(relativeError(onnx.features!, features) < 1e-4);
  await assert.rejects(runOnnx(file, input, ["logits"]));
});

test("the exported file carries its metadata and takes any batch of the exported size only", async () => {
  const { architecture: arch, numClasses, side } = readGolden<TinyGolden>("tiny-even");
  const parameters = goldenParameters(arch, numClasses);
  const metadata = { classes: JSON.stringify(["10", "2", "é", "😀"]), model: "m-1" };
  const file = exportOnnx(arch, parameters, { imageSize: side, metadata });
  for (const text of Object.entries(metadata).flat()) assert.ok(Buffer.from(file).includes(text), text);
  for (const batch of [1, 7]) {
    const { logits } = await runOnnx(file, { batch, side, data: goldenImages(batch, side) });
    assert.equal(logits!.length, batch * numClasses);
  }
  await assert.rejects(runOnnx(file, { batch: 1, side: side + 1, data: goldenImages(1, side + 1) }), /dimension/i);
});

test("what cannot be exported or computed is refused", () => {
  const { architecture: arch, numClasses } = readGolden<TinyGolden>("tiny-even");
  const parameters = goldenParameters(arch, numClasses);
  assert.throws(() => exportOnnx(arch, parameters, { imageSize: 2 }), /at least 4 pixels, not 2/);
  const broken = new Map(parameters);
  const weight = parameters.get("layer1.0.conv1.weight")!;
  broken.set("layer1.0.conv1.weight", { ...weight, data: (weight.data as Float32Array).with(3, Number.NaN) });
  assert.throws(() => exportOnnx(arch, broken), /layer1\.0\.conv1\.weight holds values that are not finite/);
  using network = new Network(arch, numClasses, parameters);
  tf.tidy(() => {
    assert.throws(() => network.predict(tf.zeros([1, 3, 16, 16])), /\[N, H, W, 3\]/);
    assert.throws(() => network.predict(tf.zeros([1, 2, 16, 3])), /at least 4 pixels, not 2x16/);
  });
  const images = { batch: 2, side: 16, data: new Float32Array(5) };
  assert.throws(() => referenceForward(arch, parameters, images), /5 values are not 2 images/);
});
