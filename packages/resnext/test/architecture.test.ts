import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import {
  ArchitectureError,
  architecture,
  architectureNames,
  checkParameters,
  featureChannels,
  initParameters,
  layerGraph,
  ParameterError,
  parameterCount,
  parameterSpecs,
  stageNames,
} from "@cardinal/resnext";
import { readGolden, type TinyGolden, tinyNames } from "./golden-values.ts";

test("parameter counts are the published ones", () => {
  const count = (name: string) => parameterCount(architecture(name), 1000);
  assert.equal(count("resnext50_32x4d"), 25_028_904);
  assert.equal(count("resnext101_32x8d"), 88_791_336);
  assert.equal(count("resnext101_64x4d"), 83_455_272);
});

test("names, shapes and order of every torchvision variant are its state_dict's", () => {
  const goldens = Object.entries(readGolden<Record<string, { crc32: number; parameters: number }>>("state-dicts"));
  assert.equal(goldens.length, 8);
  for (const [name, golden] of goldens) {
    const specs = parameterSpecs(architecture(name), 1000);
    assert.equal(crc32(JSON.stringify(specs.map((spec) => [spec.name, spec.shape]))), golden.crc32, name);
    assert.equal(parameterCount(architecture(name), 1000), golden.parameters, name);
  }
  for (const name of tinyNames) {
    const { architecture: tiny, numClasses, keys } = readGolden<TinyGolden>(name);
    assert.deepEqual(
      parameterSpecs(tiny, numClasses).map((spec) => spec.name),
      keys,
    );
  }
});

test("every variant's graph lists inputs before their users and ends in features and logits", () => {
  assert.ok(architectureNames.includes("resnext14_8x4d"));
  for (const name of architectureNames) {
    const arch = architecture(name);
    const seen = new Set<string>();
    for (const node of layerGraph(arch, 7)) {
      for (const id of node.inputs) assert.ok(seen.has(id), `${node.id} takes ${id}`);
      assert.ok(!seen.has(node.id), `${node.id} twice`);
      assert.ok(stageNames(arch).includes(node.stage), node.stage);
      seen.add(node.id);
    }
    assert.equal(layerGraph(arch, 7).at(-1)!.id, "fc");
    assert.equal(layerGraph(arch, 7, { includeTop: false }).at(-1)!.id, "avgpool");
    assert.ok(!parameterSpecs(arch, 7, { includeTop: false }).some((spec) => spec.name.startsWith("fc.")));
  }
  assert.equal(featureChannels(architecture("resnext50_32x4d")), 2048);
});

test("the grouped convolutions of resnext50_32x4d have 32 groups of 4, 8, 16, 32 channels", () => {
  const specs = new Map(parameterSpecs(architecture("resnext50_32x4d"), 1000).map((spec) => [spec.name, spec.shape]));
  assert.deepEqual(specs.get("layer1.0.conv2.weight"), [128, 4, 3, 3]);
  assert.deepEqual(specs.get("layer2.0.conv2.weight"), [256, 8, 3, 3]);
  assert.deepEqual(specs.get("layer4.2.conv2.weight"), [1024, 32, 3, 3]);
  assert.deepEqual(specs.get("fc.weight"), [1000, 2048]);
});

test("an unknown name and impossible records are refused by name", () => {
  assert.throws(() => architecture("resnext51"), {
    name: "ArchitectureError",
    message: /"resnext51".*resnext50_32x4d/,
  });
  const arch = architecture("resnext50_32x4d");
  assert.throws(() => layerGraph({ ...arch, groups: 0 }, 5), ArchitectureError);
  assert.throws(() => layerGraph({ ...arch, layers: [1, 2] }, 5), /layers has 2 stages and planes 4/);
  assert.throws(() => layerGraph({ ...arch, block: "basic" }, 5), /basic blocks have no groups/);
  assert.throws(() => layerGraph(arch, 0), /numClasses/);
});

test("initial parameters follow torchvision's distributions and depend on the seed only", () => {
  const arch = architecture("resnext14_8x4d");
  const parameters = initParameters(arch, 10, 7);
  const repeated = initParameters(arch, 10, 7);
  const other = initParameters(arch, 10, 8);
  for (const [name, { data }] of parameters) assert.deepEqual(data, repeated.get(name)!.data, name);
  assert.notDeepEqual(parameters.get("conv1.weight"), other.get("conv1.weight"));
  // layer3.0.conv2 has 128 outputs in 8 groups: N(0, 2 / (128 * 9)), not divided by the groups.
  const conv = parameters.get("layer3.0.conv2.weight")!.data as Float32Array;
  const mean = conv.reduce((sum, value) => sum + value, 0) / conv.length;
  const deviation = Math.sqrt(conv.reduce((sum, value) => sum + (value - mean) ** 2, 0) / conv.length);
  assert.ok(Math.abs(mean) < 0.001, `mean ${mean}`);
  assert.ok(Math.abs(deviation / Math.sqrt(2 / (128 * 9)) - 1) < 0.02, `deviation ${deviation}`);
  const head = parameters.get("fc.weight")!.data as Float32Array;
  const bound = 1 / Math.sqrt(featureChannels(arch));
  const largest = head.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  assert.ok(largest <= bound && largest > 0.99 * bound);
  assert.ok(parameters.get("bn1.weight")!.data.every((value) => value === 1));
  assert.ok(parameters.get("bn1.running_mean")!.data.every((value) => value === 0));
  assert.throws(() => initParameters(arch, 10, -1), RangeError);
});

test("parameters that do not fit are refused with the key and both shapes", () => {
  const arch = architecture("resnext14_8x4d");
  const parameters = initParameters(arch, 10, 1);
  checkParameters(arch, 10, parameters);
  checkParameters(arch, 10, parameters, { includeTop: false });
  const changed = (change: (copy: Map<string, unknown>) => void) => {
    const copy = new Map(parameters);
    change(copy as Map<string, unknown>);
    return () => checkParameters(arch, 10, copy);
  };
  assert.throws(
    changed((copy) => copy.delete("bn1.bias")),
    { name: "ParameterError", message: /bn1\.bias missing/ },
  );
  assert.throws(
    changed((copy) => copy.set("extra", parameters.get("bn1.bias"))),
    /has no extra/,
  );
  assert.throws(
    changed((copy) => copy.set("bn1.bias", { shape: [3], data: new Float32Array(3) })),
    /bn1\.bias is \[3\], must be \[16\]/,
  );
  assert.throws(
    changed((copy) => copy.set("bn1.bias", { shape: [16], data: new Float32Array(3) })),
    /bn1\.bias has 3 values/,
  );
  assert.throws(() => checkParameters(arch, 5, parameters), ParameterError);
});
