/** The pictures of a job's first rows, on a real store with real images. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Row } from "@cardinal/contracts";
import { writeContactSheet } from "@cardinal/report";
import { parseContactSheet } from "@cardinal/report/contact-sheet";
import { layout, openStore } from "@cardinal/storage";
import { tempDir } from "@cardinal/testing";
import sharp from "sharp";
import { storePicture } from "./fixture.ts";

const JOB = "predict-01k";

test("the first rows get a picture, errors and lost images none, and the rest is not read", async () => {
  await using folder = await tempDir("sheet");
  await using store = await openStore({ kind: "directory", path: folder.path });
  const digests = [await storePicture(store, 10), await storePicture(store, 20, 30, 20), "f".repeat(64)];
  const answer = { class: "a", index: 0, probability: 0.9 };
  const rows: Row[] = digests.map((sha256, index) => ({
    ...{ image: `${index}.jpg`, sha256, ...answer, top: Array.from({ length: 50 }, () => answer) },
  }));
  rows.splice(1, 0, { image: "bad.jpg", code: "image_truncated", message: "ends too early" });
  const lines = rows.map((row) => JSON.stringify(row));
  await store.put(layout.rows(JOB), Buffer.from(`${[...lines, "this is no row", ""].join("\n")}`));

  const options = { store, job: JOB, exif: "ignore" as const };
  assert.equal(await writeContactSheet({ ...options, images: 4 }), 4);
  const cells = parseContactSheet(await store.read(layout.contactSheet(JOB)));
  assert.deepEqual(
    cells.map(({ row, thumbnail }) => [row.image, thumbnail?.width, thumbnail?.height]),
    [
      ["0.jpg", 224, 168],
      ["bad.jpg", undefined, undefined],
      ["1.jpg", 30, 20],
      ["2.jpg", undefined, undefined],
    ],
  );
  assert.ok("top" in cells[0]!.row && cells[0]!.row.top.length === 3);
  const picture = Buffer.from(cells[0]!.thumbnail!.data.split(",")[1]!, "base64");
  assert.equal((await sharp(picture).metadata()).format, "webp");

  assert.equal(await writeContactSheet({ ...options, images: 2 }), 2, "made anew");
  assert.equal(parseContactSheet(await store.read(layout.contactSheet(JOB))).length, 2);
  await assert.rejects(writeContactSheet({ ...options, images: 5 }), SyntaxError, "a damaged row is no silent end");
});
