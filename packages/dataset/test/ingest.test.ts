import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { CardinalError, type ManifestRow, problem } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import { blobReader, listDatasets, readDataset, readManifest } from "../src/index.ts";
import { collect } from "./collect.ts";
import { files, image, keys, workspace } from "./ingesting.ts";

const rowsOf = async (store: ObjectStore, version: string, split: "train" | "val" | "all", name = "set") =>
  collect(readManifest(store, name, version, split));

const paths = (rows: ManifestRow[]) => rows.map(({ path }) => path);

test("train and val folders: rows, blobs, classes, report", async () => {
  await using space = await workspace();
  const content = files("train/b/2.png", "train/a/1.png", "val/b/3.png", "train/a/deep/er/y.JPEG.png");
  const { version, created, classes, report, dataset } = await space.ingest(content);
  assert.deepEqual([dataset, created, classes], ["set", true, ["a", "b"]]);
  const train = await rowsOf(space.store, version, "train");
  assert.deepEqual(paths(train), ["train/a/1.png", "train/a/deep/er/y.JPEG.png", "train/b/2.png"]);
  const val = await rowsOf(space.store, version, "val");
  const bytes = image(2);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  assert.deepEqual(val, [
    { path: "val/b/3.png", split: "val", class: "b", sha256, bytes: bytes.length, width: 2, height: 2, format: "png" },
  ]);
  const read = blobReader(space.store, { memoryBytes: 1e6 });
  for (const [i, row] of [...train, ...val].entries())
    assert.deepEqual(await read(row.sha256), image([1, 3, 0, 2][i]!));
  assert.deepEqual(report.splits, { train: 3, val: 1 });
  assert.deepEqual(report.classes, [
    { class: "a", train: 2, val: 0 },
    { class: "b", train: 1, val: 1 },
  ]);
  assert.equal(report.images, 4);
  assert.equal(report.valDrawn, false);
  const stored = await readDataset(space.store, "set");
  assert.deepEqual([stored.version, stored.classes, stored.report], [version, classes, report]);
  assert.deepEqual(JSON.parse(String(await space.store.read(layout.classes("set", version)))), classes);
  assert.deepEqual(JSON.parse(String(await space.store.read(layout.report("set", version)))), report);
});

test("the version is the digest of the manifest, whose lines are the splits' in order", async () => {
  await using space = await workspace();
  const { version } = await space.ingest(files("train/a/1.png", "train/b/2.png", "val/b/3.png"));
  const manifest = await space.store.read(layout.manifest("set", version));
  assert.equal(createHash("sha256").update(manifest).digest("hex"), version);
  const parts = ["train", "val"] as const;
  const lines = await Promise.all(parts.map((split) => space.store.read(layout.splitManifest("set", version, split))));
  assert.deepEqual(Buffer.concat(lines), manifest);
});

test("the same files give the same version: in another order, packed, wrapped, with litter, at another time", async () => {
  await using space = await workspace();
  const content = files("train/a/1.png", "train/b/2.png", "val/b/3.png");
  const first = await space.ingest(content);
  const before = await readDataset(space.store, "set");
  const wrapped = [...content].reverse().map((entry) => ({ ...entry, name: `flowers/${entry.name}`, deflate: true }));
  const second = await space.ingest([...wrapped, { name: "flowers/.DS_Store", data: Buffer.from("x") }]);
  assert.equal(second.version, first.version);
  assert.equal(second.created, false);
  assert.deepEqual(await readDataset(space.store, "set"), before);
  const other = await space.ingest(content, { name: "other" });
  assert.deepEqual([other.version, other.created], [first.version, true]);
  const changed = await space.ingest(files("train/a/1.png", "train/b/2.png", "val/b/4.png"));
  assert.notEqual(changed.version, first.version);
  assert.deepEqual(
    (await collect(listDatasets(space.store))).map(({ name, version }) => [name, version]),
    [
      ["other", first.version],
      ["set", changed.version],
    ],
  );
  assert.equal((await readDataset(space.store, "set", first.version)).version, first.version);
  // The first files once more: they are the latest again.
  await space.ingest(content);
  assert.equal((await readDataset(space.store, "set")).version, first.version);
});

test("litter is counted and not stored, one wrapping folder is stripped, nested images are kept", async () => {
  await using space = await workspace();
  const litter = [
    "__MACOSX/set/train/a/._1.png",
    "__MACOSX/._set",
    "set/.DS_Store",
    "set/train/.DS_Store",
    "set/train/a/._1.png",
    "set/train/a/Thumbs.db",
    "set/train/.ipynb_checkpoints/1-checkpoint.png",
    "set/train/a/notes.txt",
  ];
  const { report, classes, version } = await space.ingest([
    ...files("set/train/a/deep/y.png", "set/train/b/x.png", "set/val/a/z.png", "set/"),
    ...litter.map((name) => ({ name, data: Buffer.from("x") })),
    { name: "set/train/.ipynb_checkpoints/" },
    { name: "__MACOSX/" },
  ]);
  assert.deepEqual(classes, ["a", "b"]);
  assert.equal(report.junk.count, litter.length);
  assert.deepEqual(report.junk.examples.includes("set/train/a/notes.txt"), true);
  assert.deepEqual(paths(await rowsOf(space.store, version, "train")), ["train/a/deep/y.png", "train/b/x.png"]);
  assert.equal((await keys(space.store)).filter((key) => key.startsWith("blobs/")).length, 3);
});

for (const [title, content, names] of [
  ["by its folder's entry", [{ name: "train/c/" }, { name: "train/d/" }], ["c", "d"]],
  ["whose files are litter", [{ name: "train/c/.DS_Store", data: Buffer.from("x") }], ["c"]],
  ["whose files are no images", [{ name: "train/c/readme.txt", data: Buffer.from("x") }], ["c"]],
  ["whose images cannot be read", [{ name: "train/c/x.png", data: Buffer.from("<html>") }], ["c"]],
  ["that only val has images of", [{ name: "train/c/" }, { name: "val/c/9.png", data: image(9) }], ["c"]],
] as const) {
  test(`an empty class, ${title}, fails with its name and makes no version`, async () => {
    await using space = await workspace();
    const archive = [...files("train/a/1.png", "train/b/2.png", "val/a/3.png"), ...content];
    await assert.rejects(space.ingest(archive), (error) => {
      assert.ok(error instanceof CardinalError);
      assert.equal(error.code, "empty_class");
      assert.deepEqual(error.details?.classes, names);
      for (const name of names) assert.match(error.message, new RegExp(`\\b${name}\\b`));
      return true;
    });
    assert.deepEqual(await keys(space.store), []);
    await assert.rejects(readDataset(space.store, "set"), { code: "dataset_not_found" });
  });
}

test("val may lack classes, and an unknown one is refused by name", async () => {
  await using space = await workspace();
  const train = files("train/a/1.png", "train/b/2.png", "train/c/3.png");
  const { version, classes } = await space.ingest([...train, ...files("val/b/4.png", "val/c/5.png")]);
  assert.deepEqual(classes, ["a", "b", "c"]);
  const labels = (await rowsOf(space.store, version, "val")).map((row) => classes.indexOf(row.class!));
  assert.deepEqual(labels, [1, 2]);
  await assert.rejects(space.ingest([...train, ...files("val/d/4.png", "val/e/5.png", "val/a/6.png")]), {
    code: "unknown_class_in_val",
    details: { classes: ["d", "e"] },
  });
});

test("the classes stand in the order of Python's sorted()", async () => {
  await using space = await workspace();
  const order = ["10", "2", "B", "a", "é", "中", "Ａ", "😀"];
  const { classes } = await space.ingest(files(...[...order].reverse().map((name) => `${name}/1.png`)));
  assert.deepEqual(classes, order);
  assert.deepEqual(
    (await readDataset(space.store, "set")).report.classes.map((row) => row.class),
    order,
  );
});

test("names of every kind survive", async () => {
  await using space = await workspace();
  const names = ["sp ace/a b.png", "100%/%41.png", "a+b/c+d.png", "#/?x=1&y.png", "猫/写真 1.png", "q'\"/\u2028\n.png"];
  const { version, classes } = await space.ingest(files(...names), { valFraction: 0.5 });
  const rows = await rowsOf(space.store, version, "train");
  assert.deepEqual(paths(rows).sort(), [...names].sort());
  assert.deepEqual(new Set(rows.map((row) => row.class)), new Set(classes));
});

test("without labels folders are parts of names alone", async () => {
  await using space = await workspace();
  const names = ["train/a/1.png", "val/b/1.png", "1.png"];
  const { version, classes, report } = await space.ingest(files(...names), { labels: false });
  assert.deepEqual(classes, []);
  assert.deepEqual(report.splits, { all: 3 });
  assert.deepEqual(paths(await rowsOf(space.store, version, "all")).sort(), [...names].sort());
});

const hundred = (name: string, n = 100) => Array.from({ length: n }, (_, i) => `${name}/${i}.png`);

test("class folders without val: a stratified draw, the same for the same seed and any order", async () => {
  await using space = await workspace();
  const content = files(...hundred("a"), ...hundred("b", 40), "c/only.png");
  const { version, report } = await space.ingest(content, { valFraction: 0.2, seed: 7 });
  assert.equal(report.valDrawn, true);
  assert.deepEqual(report.classes, [
    { class: "a", train: 80, val: 20 },
    { class: "b", train: 32, val: 8 },
    { class: "c", train: 1, val: 0 },
  ]);
  const again = await space.ingest([...content].reverse(), { valFraction: 0.2, seed: 7, name: "again" });
  assert.equal(again.version, version);
  const reseeded = await space.ingest(content, { valFraction: 0.2, seed: 8 });
  assert.notEqual(reseeded.version, version);
  // Another class does not change the draw of the others.
  const more = await space.ingest([...content, ...files("d/1.png")], { valFraction: 0.2, seed: 7 });
  assert.deepEqual(
    paths(await rowsOf(space.store, more.version, "val")),
    paths(await rowsOf(space.store, version, "val")),
  );
});

test("train without val is drawn from; train, val and test leave test out and say so", async () => {
  await using space = await workspace();
  const drawn = await space.ingest(files(...hundred("train/a", 10), ...hundred("train/b", 10)));
  assert.deepEqual(drawn.report.splits, { train: 18, val: 2 });
  assert.equal(drawn.report.valDrawn, true);
  const tested = await space.ingest(
    files("train/a/1.png", "train/b/2.png", "valid/a/3.png", "test/a/4.png", "train/5.png"),
  );
  assert.deepEqual(tested.report.splits, { train: 2, val: 1 });
  assert.deepEqual(tested.report.junk, { count: 2, examples: ["test/a/4.png", "train/5.png"] });
  assert.match(tested.report.warnings[0]!, /2 images lie outside of train\/<class> and valid\/<class>.*test\/a\/4.png/);
});

test("two folders that could both be val are refused", async () => {
  await using space = await workspace();
  await assert.rejects(space.ingest(files("train/a/1.png", "train/b/2.png", "val/a/3.png", "valid/a/4.png")), {
    code: "invalid_archive",
    message: /val\/ and valid\//,
  });
});

test("a class may be called train", async () => {
  await using space = await workspace();
  const { classes } = await space.ingest(files("bus/1.png", "car/2.png", "train/3.png"));
  assert.deepEqual(classes, ["bus", "car", "train"]);
});

test("a flat folder is the split all, without classes, wrapped or not", async () => {
  await using space = await workspace();
  const flat = await space.ingest([...files("b.png", "a.png"), { name: "list.csv", data: Buffer.from("x") }]);
  assert.deepEqual([flat.classes, flat.report.splits, flat.report.valDrawn], [[], { all: 2 }, false]);
  const rows = await rowsOf(space.store, flat.version, "all");
  assert.deepEqual(
    rows.map(({ path, split, class: label }) => [path, split, label]),
    [
      ["a.png", "all", undefined],
      ["b.png", "all", undefined],
    ],
  );
  const wrapped = await space.ingest(files("photos/b.png", "photos/a.png"), { name: "wrapped" });
  assert.equal(wrapped.version, flat.version);
  await assert.rejects(rowsOf(space.store, flat.version, "train"), { code: "split_not_found", message: /it has all/ });
});

test("one class is taken with a warning", async () => {
  await using space = await workspace();
  const { classes, report } = await space.ingest(files("train/a/1.png", "train/a/2.png"));
  assert.deepEqual(classes, ["a"]);
  assert.match(report.warnings.join(), /only one class, a/);
});

test("archives without images", async () => {
  await using space = await workspace();
  await assert.rejects(space.ingest([]), { code: "no_images" });
  await assert.rejects(space.ingest([{ name: "readme.txt", data: Buffer.from("x") }]), { code: "no_images" });
  await assert.rejects(space.ingest([{ name: "a/x.jpg", data: Buffer.from("<html>") }]), {
    code: "no_images",
    message: /1 files cannot be read, such as x.jpg: .* are not an image/,
    details: { skipped: [{ path: "x.jpg", code: "not_an_image" }] },
  });
  assert.deepEqual(await keys(space.store), []);
});

test("files that cannot be read are left out and reported one by one", async () => {
  await using space = await workspace();
  const broken = [
    { name: "a/empty.png", data: Buffer.alloc(0) },
    { name: "a/page.jpg", data: Buffer.from("<html></html>") },
    { name: "a/old.bmp", data: Buffer.from("BM0000") },
    { name: "b/cut.png", data: image(5).subarray(0, 50) },
  ];
  const { report } = await space.ingest([...broken, ...files("a/1.png", "b/2.png")]);
  assert.equal(report.images, 2);
  assert.equal(report.skipped.count, 4);
  assert.deepEqual(
    report.skipped.examples.map(({ path, code }) => [path, code]),
    [
      ["a/empty.png", "empty_file"],
      ["a/old.bmp", "unsupported_format"],
      ["a/page.jpg", "not_an_image"],
      ["b/cut.png", "image_truncated"],
    ],
  );
  assert.match(report.warnings.join(), /4 files cannot be read/);
});

test("duplicates within and across splits are reported and stored once", async () => {
  await using space = await workspace();
  const { report } = await space.ingest([
    { name: "train/a/1.png", data: image(1) },
    { name: "train/a/1 copy.png", data: image(1) },
    { name: "train/b/2.png", data: image(2) },
    { name: "val/b/2.png", data: image(2) },
  ]);
  assert.deepEqual(report.duplicates, {
    count: 2,
    acrossSplits: 1,
    examples: [
      ["train/a/1 copy.png", "train/a/1.png"],
      ["train/b/2.png", "val/b/2.png"],
    ],
  });
  assert.match(report.warnings.join(), /1 images are in train and in val/);
  assert.equal((await keys(space.store)).filter((key) => key.startsWith("blobs/")).length, 2);
});

test("progress reaches 100 percent, counts every image and never goes back", async () => {
  await using space = await workspace();
  await space.ingest([...files(...hundred("a", 30), "b/1.png"), { name: "b/bad.png", data: Buffer.from("x") }]);
  const progress = space.events.flatMap((event) => (event.type === "progress" ? [event.progress] : []));
  assert.deepEqual(
    progress.map((p) => p.percent),
    progress.map((p) => p.percent).sort((a, b) => a - b),
  );
  assert.deepEqual([progress[0]?.percent, progress.at(-1)?.percent], [0, 100]);
  assert.equal(progress.at(-1)?.total, 32);
  const counted = (outcome: string) =>
    space.events.reduce((sum, e) => sum + (e.type === "images" && e.outcome === outcome ? e.count : 0), 0);
  assert.deepEqual([counted("ok"), counted("error")], [31, 1]);
  assert.equal(space.events.filter((e) => e.type === "stage" && e.stage === "ingest").length, 32);
});

test("an abort ends the ingest with its reason and makes no version", async () => {
  await using space = await workspace();
  const controller = new AbortController();
  const reason = problem("cancelled", "stop");
  const emit = () => controller.abort(reason);
  const ingest = space.ingest(files(...hundred("a"), "b/1.png"), {}, { signal: controller.signal, emit });
  await assert.rejects(ingest, reason);
  await assert.rejects(readDataset(space.store, "set"), { code: "dataset_not_found" });
});

test("an ingest that may not publish makes no version, and the next one makes it", async () => {
  await using space = await workspace();
  const content = files(...hundred("a"), "b/1.png");
  const asked: string[] = [];
  const mayPublish = async () => {
    asked.push("?");
    return false;
  };
  await assert.rejects(space.ingest(content, {}, { mayPublish }), { code: "cancelled" });
  assert.equal(asked.length, 1);
  await assert.rejects(readDataset(space.store, "set"), { code: "dataset_not_found" });
  assert.equal((await space.ingest(content, {}, { mayPublish: async () => true })).created, true);
});

test("what is no data set", async () => {
  await using space = await workspace();
  await assert.rejects(readDataset(space.store, "none"), { code: "dataset_not_found" });
  await assert.rejects(readDataset(space.store, "../x"), { code: "invalid_name" });
  await assert.rejects(readDataset(space.store, "set", "1"), { code: "invalid_name" });
  const { version } = await space.ingest(files("a/1.png", "b/2.png"));
  await assert.rejects(readDataset(space.store, "set", "0".repeat(64)), { code: "dataset_not_found" });
  await space.store.put(layout.splitManifest("set", version, "train"), Buffer.from('{"path":"x"}\n'));
  await assert.rejects(rowsOf(space.store, version, "train"), {
    code: "dataset_corrupt",
    message: /line 1 of .*split/,
  });
  await space.store.put(layout.dataset("set", version), Buffer.from("{"));
  await assert.rejects(readDataset(space.store, "set"), { code: "dataset_corrupt" });
});
