import assert from "node:assert/strict";
import { test } from "node:test";
import { architecture, initParameters } from "@cardinal/resnext";
import { exportOnnx } from "@cardinal/resnext/onnx";
import { Network } from "@cardinal/resnext/tfjs";
import { guardLeaks } from "@cardinal/testing";
import { EXPORT_TOLERANCE } from "@cardinal/training";
import type { ExpectedLogits } from "../src/export-check.ts";
import { checkExport } from "../src/export-check.ts";
import { logitsOf } from "../src/network-steps.ts";
import { coded, SMALL, THREADS } from "./support.ts";

guardLeaks();

const arch = architecture(SMALL);
const side = 28;

async function* pictures(network: Network): AsyncGenerator<ExpectedLogits> {
  const pixels = Float32Array.from({ length: 4 * 3 * side * side }, (_, i) => Math.sin(i * i));
  const batch = { images: [], pixels, labels: new Int32Array(4) };
  yield { batch, logits: logitsOf(network, batch) };
}

test("the exported model gives the network's logits", async () => {
  const parameters = initParameters(arch, 5, 1);
  using network = new Network(arch, 5, parameters);
  const error = await checkExport(exportOnnx(arch, parameters), pictures(network), THREADS);
  assert.ok(error > 0 && error < EXPORT_TOLERANCE / 100, `${error}`);
});

test("a model of other weights is found out", async () => {
  const parameters = initParameters(arch, 5, 1);
  using network = new Network(arch, 5, parameters);
  const bias = parameters.get("fc.bias")!;
  const other = new Map(parameters).set("fc.bias", { ...bias, data: (bias.data as Float32Array).map((b) => b + 0.1) });
  const onnx = exportOnnx(arch, other);
  await assert.rejects(checkExport(onnx, pictures(network), THREADS), coded("export_mismatch"));
});

test("logits that are not numbers are no match", async () => {
  const parameters = initParameters(arch, 5, 1);
  const onnx = exportOnnx(arch, parameters);
  const bias = parameters.get("fc.bias")!;
  const broken = new Map(parameters).set("fc.bias", { ...bias, data: new Float32Array(5).fill(Number.NaN) });
  using network = new Network(arch, 5, broken);
  await assert.rejects(checkExport(onnx, pictures(network), THREADS), coded("export_mismatch"));
});
