import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { guardLeaks, tempDir, waitFor } from "@cardinal/testing";
import type { DemoFigures } from "../src/demo/figures.ts";

guardLeaks();

const CARDINAL = new URL("../bin/cardinal.js", import.meta.url).pathname;

function cardinal(args: string[]) {
  const child = spawn(process.execPath, [CARDINAL, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const output = { text: "" };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      output.text += chunk;
    });
  }
  return { child, output, exit: once(child, "exit").then(([code]) => code as number | null) };
}

test("the demo, smaller: its account, its figures, exit code 0", { timeout: 300_000 }, async () => {
  await using folder = await tempDir("demo");
  const json = join(folder.path, "figures.json");
  const size = ["--train", "1000", "--val", "200", "--epochs", "2"];
  const run = cardinal(["demo", "--data-dir", join(folder.path, "data"), "--json", json, ...size]);
  assert.equal(await run.exit, 0, run.output.text);
  const figures = JSON.parse(await readFile(json, "utf8")) as DemoFigures;
  assert.equal(figures.predictionRows, 200);
  assert.equal(figures.epochs.length, 2);
  // Two short epochs: far above chance (10%), far below the full demo's.
  assert.ok(figures.predictionAccuracy > 0.3, `accuracy ${figures.predictionAccuracy}`);
  assert.equal(figures.predictionAccuracy, figures.valAccuracy, "rows and validation agree");
  assert.ok(figures.predictImagesPerSecond > 0 && figures.trainSeconds > 0);
  assert.match(run.output.text, /epoch 2 of 2: train loss/);
  assert.match(run.output.text, /\/v1\/jobs\/train-/);
});

test("Ctrl-C in the middle of the demo ends it at once, with exit code 130", { timeout: 90_000 }, async () => {
  await using folder = await tempDir("demo");
  const size = ["--train", "500", "--val", "20", "--epochs", "500"];
  const run = cardinal(["demo", "--data-dir", join(folder.path, "data"), ...size]);
  await waitFor(() => run.output.text.includes("epoch 1 of 500"), { what: "an epoch", timeoutMs: 60_000 });
  run.child.kill("SIGINT");
  await waitFor(() => run.output.text.includes("Stopped."), { what: "the stop", timeoutMs: 40_000 });
  const begin = performance.now();
  assert.equal(await run.exit, 130);
  assert.ok(performance.now() - begin < 5_000, "nothing holds the process up");
});

test("Ctrl-C on the whole process group ends the system in order, with exit code 0", { timeout: 60_000 }, async () => {
  await using folder = await tempDir("up");
  const run = cardinal(["up", "--port", "0", "--predict-workers", "1", "--data-dir", folder.path]);
  await waitFor(() => run.output.text.includes("Ctrl-C stops it"), { what: "the system", timeoutMs: 40_000 });
  run.child.kill("SIGINT");
  assert.equal(await run.exit, 0);
  assert.match(run.output.text, /Stopped\.\n$/);
  const log = await readFile(join(folder.path, "logs/train-worker.log"), "utf8");
  assert.match(log, /"msg":"stopped"/);
});

test("SIGKILL of the supervisor leaves no process behind", { timeout: 60_000 }, async () => {
  await using folder = await tempDir("killed");
  const run = cardinal(["up", "--port", "0", "--predict-workers", "1", "--data-dir", folder.path]);
  await waitFor(() => run.output.text.includes("Ctrl-C stops it"), { what: "the system", timeoutMs: 40_000 });
  run.child.kill("SIGKILL");
  await run.exit;
  // The folder's path stands in the environment of every process of the system and in Redis' configuration.
  const logs = ["api", "train-worker", "predict-worker-1"].map((name) => join(folder.path, `logs/${name}.log`));
  for (const log of logs) {
    await waitFor(async () => (await readFile(log, "utf8")).includes('"msg":"stopped"'), {
      what: `${log} to say that it stopped`,
      timeoutMs: 20_000,
    });
  }
  const redis = async () => (await readFile(join(folder.path, "logs/redis.log"), "utf8")).includes("bye bye");
  await waitFor(redis, { what: "Redis to end", timeoutMs: 20_000 });
  const again = cardinal(["up", "--port", "0", "--predict-workers", "1", "--data-dir", folder.path]);
  await waitFor(() => again.output.text.includes("Ctrl-C stops it"), { what: "the next start", timeoutMs: 40_000 });
  again.child.kill("SIGTERM");
  assert.equal(await again.exit, 0);
});

test("the demo empties no folder that is not its own", async () => {
  await using folder = await tempDir("foreign");
  await mkdir(join(folder.path, "models"));
  await writeFile(join(folder.path, "models/mine.bin"), "x");
  const run = cardinal(["demo", "--data-dir", folder.path]);
  assert.equal(await run.exit, 1);
  assert.match(run.output.text, /has a folder models that Cardinal did not make/);
  assert.deepEqual(await readdir(folder.path), ["models"]);
  assert.equal(await readFile(join(folder.path, "models/mine.bin"), "utf8"), "x");
});

test("wrong usage is told with exit code 2", async () => {
  for (const args of [["nothing"], ["up", "--port", "99999"], ["up", "--unknown"], ["demo", "--train", "x"]]) {
    const child = spawn(process.execPath, [CARDINAL, ...args], { stdio: ["ignore", "ignore", "pipe"] });
    const [errors, [code]] = await Promise.all([text(child.stderr), once(child, "exit")]);
    assert.equal(code, 2, args.join(" "));
    assert.match(errors, /^cardinal/);
  }
});
