import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConvNode } from "../src/layer-graph.ts";
import { widenGroups } from "../src/onnx/widen-groups.ts";

const grouped = (channels: number, groups: number): ConvNode => ({
  kind: "conv",
  id: "layer1.0.conv2",
  inputs: ["x"],
  stage: "layer1",
  inChannels: channels,
  outChannels: channels,
  kernel: 3,
  stride: 1,
  padding: 1,
  groups,
});

/** [out, in] of the full matrix that a grouped filter stands for, at the filter's first position. */
function dense(channels: number, groups: number, weight: Float32Array): number[][] {
  const perGroup = channels / groups;
  return Array.from({ length: channels }, (_, out) => {
    const row = new Array<number>(channels).fill(0);
    const first = Math.floor(out / perGroup) * perGroup;
    for (let i = 0; i < perGroup; i++) row[first + i] = weight[(out * perGroup + i) * 9]!;
    return row;
  });
}

for (const [channels, groups, wide] of [
  [128, 32, 8],
  [256, 32, 16],
] as const) {
  test(`${groups} groups of ${channels / groups} channels become ${wide} of 16, and compute the same`, () => {
    const weight = Float32Array.from({ length: channels * (channels / groups) * 9 }, (_, index) => index + 1);
    const widened = widenGroups(grouped(channels, groups), weight);
    assert.equal(widened.groups, wide);
    assert.equal(widened.weight.length, channels * 16 * 9);
    assert.deepEqual(dense(channels, wide, widened.weight), dense(channels, groups, weight));
    assert.equal(widened.weight.filter((value) => value !== 0).length, weight.length);
  });
}

test("what is wide enough, not divisible, or would be mostly zeros is left as it is", () => {
  for (const [channels, groups] of [
    [512, 32],
    [1024, 32],
    [64, 1],
    [12, 3], // 3 groups are no multiple of 4
    [96, 16], // 6 channels do not divide 16
    [64, 32], // 8 groups of 2 channels would become one
    [32, 32],
  ] as const) {
    const weight = new Float32Array(channels * (channels / groups) * 9).fill(1);
    const kept = widenGroups(grouped(channels, groups), weight);
    assert.equal(kept.weight, weight, `${groups} groups of ${channels / groups}`);
    assert.equal(kept.groups, groups);
  }
});
