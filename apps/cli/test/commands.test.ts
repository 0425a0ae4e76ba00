/** The commands as a user types them, on an embedded system. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import type { JobView, ModelManifest } from "@cardinal/contracts";
import { writeDigits } from "@cardinal/samples";
import { guardLeaks, tempDir } from "@cardinal/testing";
import { RECIPE, startSystem } from "./embedded.ts";

const up = await startSystem({ predictWorkers: 1 });
const folder = await tempDir("commands");
after(async () => {
  await up[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});
guardLeaks();

const CARDINAL = new URL("../bin/cardinal.js", import.meta.url).pathname;

async function cardinal(args: string[], input = "", env: NodeJS.ProcessEnv = {}) {
  const access = { CARDINAL_URL: up.system.url, CARDINAL_KEY: up.system.folder.apiKey };
  const child = spawn(process.execPath, [CARDINAL, ...args], { env: { ...process.env, ...access, ...env } });
  child.stdin.on("error", () => {}).end(input);
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  return { out, err, code: code as number | null };
}

/** Standard output of a command that succeeds. */
async function done(args: string[], input?: string): Promise<string> {
  const { out, err, code } = await cardinal(args, input);
  assert.equal(code, 0, err);
  return out;
}

test("a folder is pushed, trained on and predicted; the rows come as lines, as CSV and as a table", async () => {
  const digits = join(folder.path, "digits");
  await writeDigits(digits, { train: 200, val: 50 });
  assert.match(await done(["dataset", "push", "digits", digits]), /250 images: 200 train, 50 val/);
  assert.match(await done(["dataset", "list"]), /^NAME .*\ndigits /);
  assert.match(await done(["dataset", "show", "digits"]), /\nCLASS +TRAIN +VAL\n0 /);

  const request = JSON.stringify({ ...RECIPE, epochs: 500 });
  const trained = await done(["train", "digits", "--epochs", "1", "--alias", "d", "--request", "-"], request);
  assert.match(trained, /EPOCH +TRAIN LOSS.*\n1 .*best\n\nmdl-.*, alias d: /);
  assert.match(await done(["alias", "list"]), /\nd +mdl-/);
  const [job] = JSON.parse(await done(["jobs", "--kind", "train", "--json"])) as JobView[];
  assert.match(
    await done(["logs", job!.id, "--follow"]),
    /info {2}a worker begins attempt=1 .*\n(.*\n)*.*info {2}epoch 1 ended/,
  );
  const [model] = JSON.parse(await done(["models", "--json"])) as ModelManifest[];
  assert.equal(model!.classes.length, 10);

  const image = join(digits, "val/7/0000.png");
  const table = (await done(["predict", image, "--model", "d"])).trimEnd().split("\n");
  assert.equal(table.length, 11, "ten classes or fewer: all are shown");

  const rows = (await done(["predict", "--dataset", "digits", "--model", "d", "--top-k", "1"])).trimEnd().split("\n");
  assert.equal(rows.length, 50);
  const file = join(folder.path, "rows.csv");
  assert.equal(await done(["predict", digits, "--model", "d", "--format", "csv", "-o", file]), "");
  assert.equal((await readFile(file, "utf8")).trimEnd().split("\r\n").length, 251);

  const jobs = JSON.parse(await done(["jobs", "--kind", "predict", "--json"])) as JobView[];
  assert.equal(jobs.length, 2);
  assert.equal((await done(["results", jobs[1]!.id])).trimEnd().split("\n").length, 50);
  assert.equal(await done(["errors", jobs[1]!.id]), "");
  assert.match(await done(["watch", jobs[0]!.id]), /completed/);
  // In the order of their starts, which two processes of a system may have either way.
  const workers = await done(["workers"]);
  assert.match(workers, /^train +\S+ +\d+ /m);
  assert.match(workers, /^predict +\S+ +\d+ /m);
});

test("what fails says why, by its code and by the exit code", async () => {
  const expect = async (args: string[], code: number, message: RegExp, env?: NodeJS.ProcessEnv) => {
    const found = await cardinal(args, "", env);
    assert.equal(found.code, code, found.err);
    assert.match(found.err, message);
    assert.equal(found.out, "");
  };
  await expect(["job", "train-nonsense"], 1, /\(job_not_found\)/);
  await expect(["jobs", "--key", "a-wrong-key-for-tests"], 1, /\(unauthorized\)/);
  await expect(["jobs", "--url", "http://127.0.0.1:9"], 3, /cannot be reached.*\(api_unreachable\)/);
  await expect(["jobs"], 1, /no key/, { CARDINAL_KEY: undefined });
  await expect(["jobs", "--limit", "0"], 2, /whole number from 1 to 1000/);
  await expect(["predict", "--model", "d"], 2, /path or --dataset/);
  await expect(["train", "nowhere", "--alias", "x"], 1, /\(dataset_not_found\)/);
  await expect(["train", "--request", "/dev/null"], 1, /is not JSON/);
  const empty = join(folder.path, "empty");
  await mkdir(empty);
  await expect(["dataset", "push", "empty", empty], 1, /has no files/);
  const noImages = join(folder.path, "no-images");
  await mkdir(noImages);
  await writeFile(join(noImages, "notes.txt"), "none");
  await expect(["dataset", "push", "no-images", noImages], 1, /failed: .*\(no_images\)/);
});
