import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "node:test";
import { deflateRawSync } from "node:zlib";
import { CardinalError } from "@cardinal/contracts";
import { digitsZip } from "@cardinal/testing";
import { openArchive } from "../src/archive/open-archive.ts";
import { seededRandom } from "../src/index.ts";
import { files, image, keys, workspace } from "./ingesting.ts";
import { rawZip } from "./raw-zip.ts";

const refused = (code: string, pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof CardinalError, String(error));
  assert.equal(error.code, code, error.message);
  assert.match(error.message, pattern);
  return true;
};

/** How many files this process has open, where the system tells. */
async function openDescriptors(): Promise<number | undefined> {
  return process.platform === "linux" ? (await readdir("/proc/self/fd")).length : undefined;
}

const good = files("a/1.png", "b/2.png");

for (const [name, why] of [
  ["../x.png", /segment '\.\.'/],
  ["a/../../x.png", /segment '\.\.'/],
  ["a\\..\\..\\x.png", /segment '\.\.'/],
  ["a/..", /segment '\.\.'/],
  ["/abs.png", /absolute/],
  ["\\\\server\\share\\x.png", /absolute/],
  ["C:/x.png", /drive letter/],
  ["c:\\x.png", /drive letter/],
  ["a/x.png\0.txt", /NUL/],
] as const) {
  test(`the entry ${JSON.stringify(name)} refuses the whole archive and stores nothing`, async () => {
    await using space = await workspace();
    const bad = [...good, { name, data: image(3) }];
    await assert.rejects(space.ingest(bad), refused("unsafe_archive_entry", why));
    // Without the UTF-8 flag the name takes another way through the decoder.
    await assert.rejects(space.ingest([{ name: Buffer.from(name), data: image(3) }, ...good]), {
      code: "unsafe_archive_entry",
    });
    assert.deepEqual(await keys(space.store), []);
  });
}

test("symbolic links and devices refuse the whole archive", async () => {
  await using space = await workspace();
  const link = { name: "a/link.png", data: Buffer.from("/etc/passwd"), mode: 0o120777 };
  await assert.rejects(
    space.ingest([...good, link]),
    refused("unsafe_archive_entry", /"a\/link.png" is a symbolic link/),
  );
  const device = { name: "a/device.png", mode: 0o020644 };
  await assert.rejects(space.ingest([...good, device]), { code: "unsafe_archive_entry" });
  assert.deepEqual(await keys(space.store), []);
});

test("`..foo.jpg` is an ordinary name", async () => {
  await using space = await workspace();
  const { report } = await space.ingest(files("a/..foo.png", "a/b..png", "b/2.png"));
  assert.equal(report.images, 3);
});

test("too many entries are refused by the directory alone", async () => {
  await using space = await workspace();
  const many = files("a/1.png", "a/2.png", "b/3.png");
  await assert.rejects(
    space.ingest(many, {}, { limits: { entries: 3 } }),
    refused("archive_too_large", /3 entries; 3 are too many/),
  );
  await space.ingest(many, {}, { limits: { entries: 4 } });
});

test("zip bombs are refused before they unpack: by ratio, by total, by a lie about the size", async () => {
  await using space = await workspace();
  const zeros = Buffer.alloc(40 * 2 ** 20);
  const before = process.memoryUsage.rss();
  const bomb = rawZip([...good, { name: "a/bomb.png", data: zeros, deflate: true }]);
  await assert.rejects(space.ingest(bomb), refused("archive_too_large", /unpack \d+ bytes to 41943040/));
  const stored = rawZip([...good, { name: "a/big.png", data: zeros.subarray(0, 2 ** 20) }]);
  await assert.rejects(
    space.ingest(stored, {}, { limits: { unpackedBytes: 2 ** 20 } }),
    refused("archive_too_large", /the archive unpacks to \d+ bytes; the limit is 1048576/),
  );
  const liar = rawZip([...good, { name: "a/liar.png", data: zeros, deflate: true, bytes: 1000 }]);
  await assert.rejects(space.ingest(liar), refused("archive_too_large", /"a\/liar.png" unpacks to more than its 1000/));
  assert.deepEqual(await keys(space.store), []);
  assert.ok(process.memoryUsage.rss() - before < 150e6);
});

test("many small entries that share one packed stream are refused by their total", async () => {
  await using space = await workspace();
  const data = Buffer.alloc(2 ** 20);
  const packed = deflateRawSync(data);
  const overlapping = Array.from({ length: 50 }, (_, i) => ({ name: `a/${i}.png`, data, deflate: true }));
  const zip = rawZip(overlapping);
  assert.ok(zip.length < 100 * packed.length);
  await assert.rejects(space.ingest(zip), refused("archive_too_large", /the archive would unpack/));
});

test("encrypted, oddly packed, damaged and incomplete archives are invalid", async () => {
  await using space = await workspace();
  const one = { name: "a/1.png", data: image(1) };
  const cases: [Buffer, RegExp][] = [
    [Buffer.alloc(0), /cannot be read/],
    [Buffer.from("no zip at all"), /Not|not a zip/i],
    [rawZip([{ ...one, flags: 0x801, compressedBytes: one.data.length + 12 }]), /"a\/1.png" is encrypted/],
    [rawZip([{ ...one, flags: 0x840 }]), /encryption/],
    [rawZip([{ ...one, method: 12 }]), /compressed by method 12/],
    [rawZip([{ ...one, crc: 1 }]), /"a\/1.png" cannot be read: its CRC-32 is wrong/],
    [rawZip([{ ...one, deflate: true, bytes: 5000 }]), /and declares 5000/],
    [rawZip([{ ...one, method: 8 }]), /"a\/1.png" cannot be read/],
    [rawZip([one, one]), /two entries named "a\/1.png"/],
    [rawZip([one, { name: "a/2.png", data: image(2) }], { declaredEntries: 1 }), /declares 1 entries and has more/],
    [rawZip(good).subarray(0, -30), /cannot be read/],
    [rawZip(good).subarray(20), /cannot be read/],
    [rawZip([{ ...one, compressedBytes: 1e6, bytes: 1e6 }]), /cannot be read/],
  ];
  for (const [zip, pattern] of cases) await assert.rejects(space.ingest(zip), refused("invalid_archive", pattern));
  assert.deepEqual(await keys(space.store), []);
});

test("an archive that is not there is not called invalid", async () => {
  await assert.rejects(openArchive("/nowhere/x.zip"), { code: "ENOENT" });
});

test("names in UTF-8 with and without the flag, and in code page 437", async () => {
  await using space = await workspace();
  const file = await space.archive([
    { name: "é中😀/1.png", data: image(1) },
    { name: Buffer.from("é中😀/2.png"), data: image(2) },
    { name: Buffer.from([0x82, 0x2f, 0x81, 0x2e, 0x70, 0x6e, 0x67]), data: image(3) },
    { name: "back\\slash\\3.png", data: image(3) },
    { name: "./dot//double.png", data: image(4) },
    { name: "./" },
  ]);
  await using archive = await openArchive(file);
  assert.deepEqual(
    archive.entries.map(({ path }) => path),
    ["é中😀/1.png", "é中😀/2.png", "é/ü.png", "back/slash/3.png", "dot/double.png"],
  );
});

test("entries unpack to their bytes, stored and deflated, in any order", async () => {
  await using space = await workspace();
  const data = Buffer.from("hello ".repeat(1000));
  const file = await space.archive([
    { name: "stored", data },
    { name: "deflated", data, deflate: true },
    { name: "empty", deflate: true },
  ]);
  await using archive = await openArchive(file);
  const [stored, deflated, empty] = archive.entries;
  assert.deepEqual(await Promise.all([deflated!, stored!, empty!].map(archive.read)), [data, data, Buffer.alloc(0)]);
});

test("what a real zip tool writes is read: 60 handwritten digits", async () => {
  await using space = await workspace();
  await using zip = await digitsZip({ train: 40, val: 20 });
  const { report, classes } = await space.ingest([], {}, { archivePath: zip.path });
  assert.deepEqual(classes, [..."0123456789"]);
  assert.deepEqual(report.splits, { train: 40, val: 20 });
  assert.equal(report.skipped.count, 0);
});

test("400 damaged archives end in a CardinalError or in a version, and soon", async () => {
  await using space = await workspace();
  const whole = rawZip([
    ...files("train/a/1.png", "train/b/2.png", "val/a/3.png", "train/c/"),
    { name: "train/c/4.png", data: image(4), deflate: true },
  ]);
  const random = seededRandom(2026);
  const below = (n: number) => Math.floor(random() * n);
  const codes = new Map<string, number>();
  const descriptors = await openDescriptors();
  const started = performance.now();
  for (let round = 0; round < 400; round++) {
    const damaged = Buffer.from(round % 7 === 0 ? whole.subarray(0, below(whole.length)) : whole);
    // The directory stands at the end and has the richest structure: half of the damage goes there.
    for (let i = 0; i <= below(4) && damaged.length > 0; i++) {
      const at = random() < 0.5 ? below(damaged.length) : damaged.length - 1 - below(Math.min(400, damaged.length));
      damaged[at] = below(256);
    }
    const code = await space.ingest(damaged).then(
      () => "ok",
      (error) => {
        assert.ok(error instanceof CardinalError, `round ${round}: ${error?.stack}`);
        assert.ok(error.status === 422, `round ${round}: ${error.code}`);
        return error.code;
      },
    );
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  assert.ok(performance.now() - started < 60_000, "takes 2 s on an idle machine");
  if (descriptors !== undefined) assert.equal(await openDescriptors(), descriptors);
  assert.ok((codes.get("invalid_archive") ?? 0) > 100, JSON.stringify([...codes]));
});
