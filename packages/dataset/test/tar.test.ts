/** Archives written by tar, good and bad. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { link, mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { guardLeaks, writeDigits } from "@cardinal/testing";
import { pack } from "tar-stream";
import { openArchive } from "../src/archive/open-archive.ts";
import { seededRandom } from "../src/index.ts";
import { image, keys, workspace } from "./ingesting.ts";

guardLeaks();

const run = promisify(execFile);

type Header = Parameters<ReturnType<typeof pack>["entry"]>[0];

async function tarOf(...entries: [Header, Uint8Array?][]): Promise<Buffer> {
  const tar = pack();
  for (const [header, data] of entries) tar.entry(header, Buffer.from(data ?? []));
  tar.finalize();
  return buffer(tar as unknown as AsyncIterable<Buffer>);
}

const file = (name: string, n = 1): [Header, Uint8Array] => [{ name }, image(n)];
const good = [file("a/1.png", 1), file("b/2.png", 2)];
const openFiles = async () => (await readdir("/proc/self/fd")).length;

for (const flags of ["-cf", "-czf"]) {
  test(`what tar ${flags} writes is ingested as a zip of the same files is`, async () => {
    await using space = await workspace();
    const folder = path.join(space.folder, "digits");
    await writeDigits(folder, { train: 40, val: 20 });
    await mkdir(path.join(folder, `train/0/${"long ".repeat(40)}é中`));
    await writeFile(path.join(folder, `train/0/${"long ".repeat(40)}é中/x.png`), image(9));
    await writeFile(path.join(folder, "train/0/first.png"), image(8));
    await link(path.join(folder, "train/0/first.png"), path.join(folder, "train/0/linked.png"));
    const archivePath = path.join(space.folder, "archive");
    await run("tar", [flags, archivePath, "-C", folder, "."]);
    let read = 0;
    const onRead = (bytes: number) => {
      read += bytes;
    };
    const { report, classes } = await space.ingest([], {}, { archivePath, onRead });
    assert.deepEqual(classes, [..."0123456789"]);
    assert.deepEqual(report.splits, { train: 43, val: 20 });
    assert.equal(report.skipped.count, 0);
    assert.ok(read > 1000);
    assert.ok(!(await readdir(space.folder)).some((name) => name.endsWith(".unpacked")));
  });
}

test("unsafe entries refuse the whole archive, and nothing is stored", async () => {
  await using space = await workspace();
  const before = await openFiles();
  const cases: [Header, Uint8Array?][] = [
    file("../x.png"),
    file("/abs.png"),
    file("a\\..\\..\\x.png"),
    file("c:\\x.png"),
    [{ name: "a/l.png", type: "symlink", linkname: "/etc/passwd" }],
    [{ name: "a/fifo", type: "fifo" }],
    [{ name: "a/device", type: "block-device" }],
    [{ name: "a/l.png", type: "link", linkname: "../../etc/passwd" }],
  ];
  for (const bad of cases) {
    const archive = gzipSync(await tarOf(...good, bad, file("c/3.png", 3)));
    await assert.rejects(space.ingest(archive), { code: "unsafe_archive_entry" }, bad[0].name);
  }
  assert.deepEqual(await keys(space.store), []);
  assert.equal(await openFiles(), before);
});

test("a symbolic link that tar packs is refused by its name", async () => {
  await using space = await workspace();
  const folder = path.join(space.folder, "set");
  await mkdir(path.join(folder, "a"), { recursive: true });
  await symlink("/etc/passwd", path.join(folder, "a/passwd.png"));
  const archivePath = path.join(space.folder, "set.tgz");
  await run("tar", ["-czf", archivePath, "-C", space.folder, "set"]);
  await assert.rejects(space.ingest([], {}, { archivePath }), { message: /"set\/a\/passwd.png" is a symbolic link/ });
});

test("too many entries, too many bytes, a gzip bomb: refused as soon as it is seen", async () => {
  await using space = await workspace();
  const limits = { entries: 3, unpackedBytes: 4 * 2 ** 20, ratio: 100, ratioFrom: 2 ** 20 };
  const three = await tarOf(...good, file("c/3.png"));
  await assert.rejects(space.ingest(three, {}, { limits }), { message: /has 3 entries; 3 are too many/ });
  const big: [Header, Uint8Array] = [{ name: "a/big.png" }, Buffer.alloc(5 * 2 ** 20)];
  await assert.rejects(space.ingest(await tarOf(big), {}, { limits }), { code: "archive_too_large" });
  const bomb = gzipSync(await tarOf([{ name: "a/zero.png" }, Buffer.alloc(3 * 2 ** 20)]));
  await assert.rejects(space.ingest(bomb, {}, { limits }), { message: /more than 100 times/ });
  assert.deepEqual(await keys(space.store), []);
});

test("damaged archives: cut, with a wrong gzip sum, a name twice, a link to nothing", async () => {
  await using space = await workspace();
  const tar = await tarOf(...good, [{ name: "a/noise.png" }, seededRandomBytes(3, 100_000)]);
  const packed = gzipSync(tar);
  const flipped = Buffer.from(packed);
  flipped[packed.length - 6]! ^= 1;
  const cases = [
    packed.subarray(0, packed.length / 2),
    packed.subarray(0, -1),
    flipped,
    tar.subarray(0, tar.length - 60_000),
    await tarOf(...good, file("a/1.png", 3)),
    await tarOf([{ name: "a/l.png", type: "link", linkname: "a/none.png" }]),
  ];
  for (const [n, archive] of cases.entries()) {
    await assert.rejects(space.ingest(Buffer.from(archive)), { code: "invalid_archive" }, `case ${n}`);
  }
  assert.deepEqual(await keys(space.store), []);
});

test("300 mutated archives end in a CardinalError or in a version; no file stays open", async () => {
  await using space = await workspace();
  const before = await openFiles();
  const tar = await tarOf(...good, file("a/3.png", 3), file("b/4.png", 4));
  const draw = seededRandom(11);
  for (let n = 0; n < 300; n++) {
    const bytes = n % 2 ? gzipSync(tar) : Buffer.from(tar);
    for (let k = 0; k < 4; k++) bytes[Math.floor(draw() * bytes.length)] = Math.floor(draw() * 256);
    const archive = await openArchive(await space.archive(bytes)).catch((error) => {
      assert.equal(error.name, "CardinalError", String(error.stack));
    });
    await archive?.[Symbol.asyncDispose]();
  }
  assert.equal(await openFiles(), before);
});

test("an abort while unpacking ends it, and leaves nothing", async () => {
  await using space = await workspace();
  const archivePath = await space.archive(await tarOf([{ name: "a/big.png" }, Buffer.alloc(20 * 2 ** 20)]));
  const stop = new AbortController();
  const opening = openArchive(archivePath, { signal: stop.signal, onRead: () => stop.abort(new Error("stop")) });
  await assert.rejects(opening, /stop/);
  assert.ok(!(await readdir(space.folder)).some((name) => name.endsWith(".unpacked")));
});

function seededRandomBytes(seed: number, count: number): Buffer {
  const draw = seededRandom(seed);
  return Buffer.from(Array.from({ length: count }, () => Math.floor(draw() * 256)));
}
