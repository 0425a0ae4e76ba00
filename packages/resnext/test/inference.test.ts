import assert from "node:assert/strict";
import { test } from "node:test";
import { type Architecture, architecture, type Parameters } from "@cardinal/resnext";
import { exportOnnx } from "@cardinal/resnext/onnx";
import { referenceForward } from "@cardinal/resnext/reference";
import { type ConvolutionEngine, Network, tf } from "@cardinal/resnext/tfjs";
import ort from "onnxruntime-node";
import {
  goldenImages,
  goldenParameters,
  readGolden,
  relativeError,
  type TinyGolden,
  tinyNames,
  toNhwc,
  unpack,
} from "./golden-values.ts";

interface Input {
  batch: number;
  side: number;
  data: Float32Array;
}

async function runOnnx(file: Uint8Array, { batch, side, data }: Input, outputs = ["logits", "features"]) {
  const session = await ort.InferenceSession.create(file, { intraOpNumThreads: 1 });
  try {
    const result = await session.run({ input: new ort.Tensor("float32", data, [batch, 3, side, side]) }, outputs);
    return Object.fromEntries(outputs.map((name) => [name, result[name]!.data as Float32Array]));
  } finally {
    await session.release();
  }
}

function runTfjs(arch: Architecture, numClasses: number, parameters: Parameters, x: Input, engine: ConvolutionEngine) {
  using network = new Network(arch, numClasses, parameters, { engine });
  return tf.tidy(() => {
    const input = tf.tensor4d(toNhwc(x.data, x.batch, x.side), [x.batch, x.side, x.side, 3]);
    return { logits: network.predict(input).dataSync(), features: network.features(input).dataSync() };
  });
}

for (const name of tinyNames) {
  test(`${name}: reference, ONNX Runtime and both tfjs engines give PyTorch's logits`, async () => {
    const golden = readGolden<TinyGolden>(name);
    const { architecture: arch, numClasses, batch, side } = golden;
    const parameters = goldenParameters(arch, numClasses);
    const input = { batch, side, data: goldenImages(batch, side) };
    const expected = unpack(golden.eval);
    const reference = referenceForward(arch, parameters, input);
    assert.ok(relativeError(reference.logits, expected) < 1e-5);
    const onnx = await runOnnx(exportOnnx(arch, parameters, { imageSize: side }), input);
    assert.ok(relativeError(onnx.logits!, expected) < 1e-4);
    assert.ok(relativeError(onnx.features!, reference.features) < 1e-4);
    for (const engine of ["native", "split"] as const) {
      const tfjs = runTfjs(arch, numClasses, parameters, input, engine);
      assert.ok(relativeError(tfjs.logits, expected) < 1e-4, engine);
      assert.ok(relativeError(tfjs.features, reference.features) < 1e-4, engine);
    }
  });
}

test("resnext50_32x4d gives torchvision's logits in tfjs and ONNX Runtime", async () => {
  const golden = readGolden<Pick<TinyGolden, "batch" | "side" | "eval" | "numClasses">>("resnext50_32x4d");
  const { batch, side, numClasses } = golden;
  const arch = architecture("resnext50_32x4d");
  const parameters = goldenParameters(arch, numClasses);
  const input = { batch, side, data: goldenImages(batch, side) };
  const expected = unpack(golden.eval);
  const onnx = await runOnnx(exportOnnx(arch, parameters, { imageSize: side }), input);
  assert.ok(relativeError(onnx.logits!, expected) < 1e-4);
  assert.ok(relativeError(runTfjs(arch, numClasses, parameters, input, "native").logits, expected) < 1e-4);
});

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
