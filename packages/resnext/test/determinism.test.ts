import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

/** What a process of its own with two threads prints. */
async function train(seed: number): Promise<{ parameters: string; state: string; losses: number[] }> {
  const script = path.join(import.meta.dirname, "one-training.ts");
  const env = { ...process.env, TF_NUM_INTRAOP_THREADS: "2", OMP_NUM_THREADS: "2" };
  const { stdout } = await promisify(execFile)(process.execPath, [script, String(seed)], { env });
  return JSON.parse(stdout);
}

test("two processes with the same seed and two threads train to the same bits, another seed to others", async () => {
  const first = await train(7);
  assert.ok(first.losses.every(Number.isFinite));
  assert.deepEqual(await train(7), first);
  const other = await train(8);
  assert.notEqual(other.parameters, first.parameters);
  assert.notEqual(other.state, first.state);
});
