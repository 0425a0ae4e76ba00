import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { guardLeaks } from "../src/index.ts";

guardLeaks();

const FIXTURE = path.join(import.meta.dirname, "fixtures/leaks.ts");

function runFixture(leak?: string): Promise<{ code: number; output: string }> {
  const { promise, resolve } = Promise.withResolvers<{ code: number; output: string }>();
  const env: NodeJS.ProcessEnv = { ...process.env };
  delete env.NODE_TEST_CONTEXT; // it is a test run of its own
  if (leak) env.LEAK = leak;
  execFile(process.execPath, ["--test", FIXTURE], { env }, (error, stdout, stderr) => {
    resolve({ code: error ? Number(error.code) : 0, output: stdout + stderr });
  });
  return promise;
}

test("a file that closes what it opened passes, even when a root hook does it", async () => {
  const { code, output } = await runFixture();
  assert.equal(code, 0, output);
});

test("a child process left behind fails the file", async () => {
  const { code, output } = await runFixture("child");
  const pid = /left behind by this test file.*?sleep \((\d+)\)/s.exec(output)?.[1];
  assert.ok(pid, output);
  process.kill(Number(pid));
  assert.equal(code, 1);
});

test("a listening server left behind fails the file", async () => {
  const { code, output } = await runFixture("server");
  assert.match(output, /left behind by this test file.*TCPServerWrap/s);
  assert.equal(code, 1);
});

test("a thread left behind is ended, and fails the file", async () => {
  const { code, output } = await runFixture("worker");
  assert.match(output, /still running 3 s after the last test/);
  assert.equal(code, 1);
});
