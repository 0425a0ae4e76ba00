import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Outcome } from "../src/bench.ts";
import { LineProcess } from "../src/line-process.ts";
import { describeMachine } from "../src/machine.ts";
import { resultFile, table } from "../src/report.ts";
import { alternate, best, median, ratio, takeTurns } from "../src/turns.ts";

const measured = (name: string, samples: number[]) => ({ name, unit: "images/s", samples });

test("the median is the middle sample, whatever their order", () => {
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([10, 9, 2, 1]), 5.5);
  assert.throws(() => median([]), RangeError);
});

test("a ratio compares the best medians of both sides, not the best samples", () => {
  const ours = [measured("a", [30, 28, 2]), measured("b", [1, 100, 1])];
  const theirs = [measured("c", [14, 14, 14]), measured("d", [7, 7, 90])];
  assert.equal(best(ours).name, "a");
  assert.equal(ratio(ours, theirs), 2);
  assert.throws(() => ratio(ours, []), RangeError);
});

test("contestants take turns, and the first round only warms up", async () => {
  const order: string[] = [];
  const contestant = (name: string) => ({ name, unit: "s", turn: async () => order.push(name) });
  const result = await takeTurns(alternate([contestant("a"), contestant("b")], [contestant("x")]), 2);
  assert.equal(order.join(""), "axbaxbaxb");
  assert.deepEqual(result, [
    { name: "a", unit: "s", samples: [4, 7] },
    { name: "x", unit: "s", samples: [5, 8] },
    { name: "b", unit: "s", samples: [6, 9] },
  ]);
});

test("the file has bench, machine, rows and ratios; the table says which target was missed", () => {
  const outcome: Outcome = {
    measured: [measured("cardinal", [3, 1, 2.00004]), measured("peer", [1])],
    ratios: {
      vsPeer: { value: 2.00004, target: { atLeast: 3 } },
      peakRssGb: { value: 4.5, target: { atMost: 5 } },
    },
    versions: { torch: "2.15.0" },
  };
  const machine = describeMachine()(outcome.versions);
  const file = JSON.parse(JSON.stringify(resultFile("forward", machine, outcome)));
  assert.deepEqual(Object.keys(file), ["bench", "machine", "rows", "ratios"]);
  assert.deepEqual(file.rows, [
    { name: "cardinal", value: 2, unit: "images/s" },
    { name: "peer", value: 1, unit: "images/s" },
  ]);
  assert.deepEqual(file.ratios, { vsPeer: 2, peakRssGb: 4.5 });
  assert.equal(file.machine.versions.torch, "2.15.0");
  assert.ok(file.machine.cores >= 1);
  const printed = table("forward", machine, outcome);
  assert.match(printed, /cardinal +2\.00 images\/s \(1\.00\.\.3\.00\)/);
  assert.match(printed, /vsPeer +2\.00 target 3 or more: MISSED/);
  assert.match(printed, /peakRssGb +4\.50 target 5 or less: reached/);
});

const echo = fileURLToPath(import.meta.resolve("./echo-child.ts"));

test("a child answers its tasks, tells its errors, and its death is an error", async () => {
  await using child = await LineProcess.start({ command: process.execPath, args: [echo] });
  assert.deepEqual(child.versions, { echo: "1" });
  assert.deepEqual(await child.ask("echo", { value: [1, "two"] }), [1, "two"]);
  await assert.rejects(child.ask("fail"), /no way/);
  await assert.rejects(child.ask("unknown"), /no task unknown/);
  await assert.rejects(child.ask("exit"), /exited with 3/);
  await assert.rejects(child.ask("echo", { value: 1 }), /exited with 3/);
});

test("a program that cannot be started is an error", async () => {
  await assert.rejects(LineProcess.start({ command: "no-such-program", args: [] }), /cannot be started/);
});
