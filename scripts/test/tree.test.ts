/** Lint and types of the whole tree, so that `npm test` is all that there is to run. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { test } from "node:test";

const ROOT = path.join(import.meta.dirname, "../..");

for (const [name, program, args] of [
  ["biome finds nothing to complain about", "biome", ["check", "."]],
  ["the types are sound", "tsc", ["-p", "."]],
] as const) {
  test(name, async () => {
    const { code, output } = await run(path.join(ROOT, "node_modules/.bin", program), args);
    assert.equal(code, 0, output);
  });
}

function run(program: string, args: readonly string[]): Promise<{ code: unknown; output: string }> {
  const { promise, resolve } = Promise.withResolvers<{ code: unknown; output: string }>();
  execFile(program, args, { cwd: ROOT, maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
    resolve({ code: error ? error.code : 0, output: `${stdout}${stderr}` });
  });
  return promise;
}
