import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import sharp from "sharp";
import {
  digitImages,
  digitsZip,
  promtoolCheckMetrics,
  tempDir,
  waitFor,
  writeDigits,
  type ZipEntry,
  zipOf,
} from "../src/index.ts";

test("digits are 28x28 grey PNG files, balanced, train and val apart", async () => {
  const images: ZipEntry[] = [];
  for await (const image of digitImages({ train: 30, val: 20 })) images.push(image);
  const names = images.map(({ name }) => name);
  assert.equal(new Set(names.map((name) => name.split("/").slice(1).join("/"))).size, 50);
  for (const digit of Array.from({ length: 10 }, (_, index) => String(index))) {
    assert.equal(names.filter((name) => name.startsWith(`train/${digit}/`)).length, 3);
    assert.equal(names.filter((name) => name.startsWith(`val/${digit}/`)).length, 2);
  }
  const { format, width, height, channels } = await sharp(images[0]?.data as Buffer).metadata();
  assert.deepEqual({ format, width, height, channels }, { format: "png", width: 28, height: 28, channels: 1 });
  const { channels: statistics } = await sharp(images[0]?.data as Buffer).stats();
  assert.ok((statistics[0]?.max ?? 0) > 200 && (statistics[0]?.mean ?? 0) > 10, "there is ink on it");
});

test("digits go into a folder and into a zip with the same names, the same bytes every time", async () => {
  const counts = { train: 10, val: 10 };
  await using folder = await tempDir("digits");
  await writeDigits(folder.path, counts);
  const files = globSync("*/*/*.png", { cwd: folder.path });
  assert.equal(files.length, 20);
  await using first = await digitsZip(counts);
  await using second = await digitsZip(counts);
  const bytes = readFileSync(first.path);
  assert.deepEqual(bytes, readFileSync(second.path));
  for (const file of files) assert.ok(bytes.includes(file), file);
  const gone = await tempDir();
  await gone[Symbol.asyncDispose]();
  assert.ok(!existsSync(gone.path));
});

test("more digits than there are is an error", async () => {
  await assert.rejects(digitsZip({ train: 9000, val: 1001 }), /there are 10000 digits, not 10001/);
});

test("a zip holds any names", async () => {
  const names = ["../up", "a\\b", "/root", "中.png"];
  await assert.rejects(zipOf([{ name: "../up", data: "x" }]));
  const bytes = await zipOf([{ name: names[3] as string, data: "x" }]);
  assert.ok(bytes.includes("中.png"));
});

test("waitFor gives what it saw, or says what it waited for", async () => {
  let looks = 0;
  assert.equal(await waitFor(() => (++looks === 3 ? "there" : undefined), { what: "it" }), "there");
  await assert.rejects(
    waitFor(() => false, { what: "the moon", timeoutMs: 30 }),
    /waited 0\.03 s for the moon; .*false/,
  );
  const broken = () => Promise.reject(new Error("broken"));
  await assert.rejects(waitFor(broken, { what: "it" }), /broken/);
});

test("promtool accepts good metrics and refuses bad ones", async () => {
  const good = "# HELP cardinal_jobs_total Jobs.\n# TYPE cardinal_jobs_total counter\ncardinal_jobs_total 1\n";
  await promtoolCheckMetrics(good);
  await assert.rejects(
    promtoolCheckMetrics(good.replaceAll("_total", "")),
    /counter metrics should have "_total" suffix/,
  );
  await assert.rejects(promtoolCheckMetrics("cardinal jobs {"), /promtool check metrics/);
});

test("the temp folder is the test's own", async () => {
  await using one = await tempDir("x");
  await using two = await tempDir("x");
  assert.notEqual(one.path, two.path);
  assert.ok(path.isAbsolute(one.path));
});
