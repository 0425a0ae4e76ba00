/** Set-up as a command. `npm test` has run it once already, so everything is in place. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { tempDir } from "@cardinal/testing";
import { proveAddon } from "../src/tensorflow-addon.ts";

const ROOT = path.join(import.meta.dirname, "../../..");

interface Outcome {
  code: number;
  lines: string[];
  seconds: number;
}

function setup(args: string[], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const started = performance.now();
  const all = ["scripts/setup.js", ...args];
  execFile(process.execPath, all, { cwd: ROOT, env: { ...process.env, ...env } }, (error, stdout, stderr) => {
    const code = error ? Number(error.code) : 0;
    resolve({ code, lines: (stdout + stderr).trim().split("\n"), seconds: (performance.now() - started) / 1000 });
  });
  return promise;
}

test("a second run says what is used in a line a part, in under two seconds", async () => {
  const { code, lines, seconds } = await setup(["--for-tests"]);
  assert.equal(code, 0, lines.join("\n"));
  for (const part of ["node", "tensorflow", "redis", "test redis", "test valkey", "promtool", "browser", "s3 server"]) {
    const own = lines.filter((line) => line.startsWith(part.padEnd(13)));
    assert.equal(own.length, 1, `${part}: ${lines.join("\n")}`);
  }
  assert.ok(seconds < 2, `took ${seconds} s`);
});

test("on a machine with nothing it names the ways to get each part and fails", async () => {
  await using empty = await tempDir("bare");
  const env = {
    PATH: empty.path,
    CARDINAL_CACHE_DIR: empty.path,
    REDIS_URL: "",
    S3_TEST_ENDPOINT: "",
    ALLOW_SKIP_S3: "",
  };
  const { code, lines } = await setup(["--for-tests"], env);
  assert.equal(code, 1);
  const said = (part: string) => lines.find((line) => line.startsWith(part.padEnd(13))) ?? "";
  assert.match(said("tensorflow"), /MISSING: no Python 3 with pip .*apt-get install python3-pip/);
  assert.match(said("redis"), /MISSING: no Redis .*REDIS_URL.*redis-server 6\.2/);
  assert.match(said("promtool"), /MISSING: .*PATH/);
  assert.match(said("browser"), /MISSING: .*chromium on PATH.*apt-get/);
  assert.match(said("s3 server"), /MISSING: .*S3_TEST_ENDPOINT.*ALLOW_SKIP_S3=1/);
});

test("the S3 server is left out only when asked to, loudly", async () => {
  const { code, lines } = await setup(["--for-tests"], { ALLOW_SKIP_S3: "1" });
  assert.equal(code, 0);
  assert.match(lines.find((line) => line.startsWith("s3 server")) ?? "", /WARNING: .*ALLOW_SKIP_S3=1/);
});

test("an argument that it does not know is refused", async () => {
  const { code, lines } = await setup(["--for-test"]);
  assert.equal(code, 1);
  assert.match(lines.join(), /unknown argument --for-test;/);
});

test("tfjs-node multiplies on the pinned libtensorflow", { skip: process.platform !== "linux" }, async () => {
  assert.equal(await proveAddon(ROOT), "2.21.0");
});
