import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { compileKernel, target } from "../kernel/make.ts";

test("resample.wasm is what resample.wat says; else run `node packages/dataset/kernel/make.ts`", async () => {
  assert.ok(readFileSync(target).equals(await compileKernel()));
});
