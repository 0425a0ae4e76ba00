/** The forward pass in evaluation, as each interpreter computes it, against PyTorch's logits. */
import assert from "node:assert/strict";
import type { Architecture, Parameters } from "@cardinal/resnext";
import { exportOnnx } from "@cardinal/resnext/onnx";
import { type ConvolutionEngine, Network, tf } from "@cardinal/resnext/tfjs";
import ort from "onnxruntime-node";
import { type ForwardGolden, goldenImages, goldenParameters, relativeError, toNhwc, unpack } from "./golden-values.ts";

export interface Input {
  batch: number;
  side: number;
  /** NCHW */
  data: Float32Array;
}

/** Gives `use` a session of the file, and releases it. */
export async function withSession<T>(file: Uint8Array, use: (session: ort.InferenceSession) => Promise<T>): Promise<T> {
  const session = await ort.InferenceSession.create(file, { intraOpNumThreads: 1 });
  try {
    return await use(session);
  } finally {
    await session.release();
  }
}

export async function runSession(session: ort.InferenceSession, input: Input, outputs = ["logits", "features"]) {
  const { batch, side, data } = input;
  const result = await session.run({ input: new ort.Tensor("float32", data, [batch, 3, side, side]) }, outputs);
  return Object.fromEntries(outputs.map((name) => [name, result[name]!.data as Float32Array]));
}

export function runOnnx(file: Uint8Array, input: Input, outputs?: string[]) {
  return withSession(file, (session) => runSession(session, input, outputs));
}

export function predict(network: Network, { batch, side, data }: Input) {
  return tf.tidy(() => {
    const input = tf.tensor4d(toNhwc(data, batch, side), [batch, side, side, 3]);
    return { logits: network.predict(input).dataSync(), features: network.features(input).dataSync() };
  });
}

export interface ForwardCase extends Input {
  readonly parameters: Parameters;
  /** [batch, classes] of PyTorch. */
  readonly expected: Float32Array;
}

/** A case for each batch of the issue: 1, 3 and 8 images. */
export function forwardCases(arch: Architecture, golden: ForwardGolden): ForwardCase[] {
  const { side, numClasses } = golden;
  const parameters = goldenParameters(arch, numClasses);
  const logits = unpack(golden.eval);
  assert.equal(logits.length, 8 * numClasses);
  return [1, 3, 8].map((batch) => {
    const data = goldenImages(batch, side);
    return { batch, side, data, parameters, expected: logits.subarray(0, batch * numClasses) };
  });
}

/** Both sides that Cardinal runs models on: tfjs in these engines, and ONNX Runtime on the exported file. */
export async function checkForward(arch: Architecture, golden: ForwardGolden, engines: readonly ConvolutionEngine[]) {
  const cases = forwardCases(arch, golden);
  const { parameters } = cases[0]!;
  for (const engine of engines) {
    using network = new Network(arch, golden.numClasses, parameters, { engine });
    for (const one of cases) accept(predict(network, one).logits, one, `tfjs, ${engine}`);
  }
  await withSession(exportOnnx(arch, parameters, { imageSize: golden.side }), async (session) => {
    for (const one of cases) accept((await runSession(session, one, ["logits"])).logits!, one, "ONNX Runtime");
  });
}

/** Largest difference over the largest logit: 1e-4 is allowed. */
export function accept(logits: ArrayLike<number>, { batch, expected }: ForwardCase, where: string, allowed = 1e-4) {
  const error = relativeError(logits, expected);
  assert.ok(error < allowed, `${where}, batch ${batch}: ${error}`);
}
