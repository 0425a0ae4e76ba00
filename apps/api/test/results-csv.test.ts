import assert from "node:assert/strict";
import { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { test } from "node:test";
import type { Row } from "@cardinal/contracts";
import { resultsCsv } from "../src/results-csv.ts";

const HEADER = "image,sha256,class,index,probability,label,code,message\r\n";
const sha256 = "ab".repeat(32);
const answer = { image: "a.png", sha256, class: "cat", index: 0, probability: 0.5, top: [] };

async function csvOf(rows: Row[], chunkBytes = 7): Promise<string> {
  const bytes = Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += chunkBytes) chunks.push(bytes.subarray(at, at + chunkBytes));
  const parts = await Readable.from(chunks).pipe(resultsCsv()).toArray();
  return Buffer.concat(parts.map((part) => Buffer.from(part))).toString();
}

test("rows become lines in order; what a row does not have is empty", async () => {
  const csv = await csvOf([
    { ...answer, label: "dog", probability: 0.1234567890123456 },
    { image: "b.png", code: "image_truncated", message: "ends early" },
    { ...answer, image: "c.png", probability: 1e-7 },
  ]);
  assert.equal(
    csv,
    HEADER +
      `a.png,${sha256},cat,0,0.1234567890123456,dog,,\r\n` +
      "b.png,,,,,,image_truncated,ends early\r\n" +
      `c.png,${sha256},cat,0,1e-7,,,\r\n`,
  );
});

test("no rows give the header", async () => {
  assert.equal(await csvOf([]), HEADER);
});

test("quotes, commas and line breaks are quoted as RFC 4180 says", async () => {
  const csv = await csvOf([{ image: 'a "b", c\n.png', code: "not_an_image", message: "x\r\ny" }]);
  assert.equal(csv, `${HEADER}"a ""b"", c\n.png",,,,,,not_an_image,"x\r\ny"\r\n`);
});

test("names of every script survive any cut between chunks", async () => {
  const names = ["train/é/中 1%+#?.png", "Ａ/😀.jpg", "a b/c;d.png"];
  const rows = names.map((image) => ({ ...answer, image }));
  for (const chunkBytes of [1, 2, 3, 5, 1000]) {
    const lines = (await csvOf(rows, chunkBytes)).split("\r\n").slice(1, -1);
    assert.deepEqual(
      lines.map((line) => line.split(",")[0]),
      names,
    );
  }
});

test("text that a spreadsheet would run as a formula is defused, numbers are not", async () => {
  for (const lead of ["=", "+", "-", "@", "\t", "\r"]) {
    const image = `${lead}HYPERLINK()`;
    const csv = await csvOf([
      { ...answer, image, class: image, label: image },
      { image, code: "x", message: image },
    ]);
    const fields = csv
      .slice(HEADER.length)
      .replaceAll('"', "")
      .split(/,|\r\n/);
    const text = fields.filter((field) => field.includes("HYPERLINK"));
    assert.equal(text.length, 5);
    for (const field of text) assert.equal(field, `'${image}`);
    assert.equal(fields[4], "0.5");
  }
});

test("a source that fails fails the pipeline", async () => {
  const source = Readable.from(
    (async function* () {
      yield Buffer.from(`${JSON.stringify(answer)}\n`);
      throw new Error("store gone");
    })(),
  );
  const sink = new Writable({ write: (_chunk, _encoding, done) => done() });
  await assert.rejects(pipeline(source, resultsCsv(), sink), /store gone/);
});

test("memory stays bounded while many rows stream", async () => {
  const top = Array.from({ length: 20 }, (_, index) => ({ class: `class ${index}`, index, probability: 0.05 }));
  const line = `${JSON.stringify({ ...answer, top })}\n`;
  const chunk = Buffer.from(line.repeat(100));
  let bytes = 0;
  const before = process.memoryUsage.rss();
  await pipeline(
    Readable.from(
      (function* () {
        for (let i = 0; i < 300; i++) yield chunk;
      })(),
    ),
    resultsCsv(),
    new Writable({
      write: (out: Buffer, _encoding, done) => {
        bytes += out.length;
        setImmediate(done);
      },
    }),
  );
  assert.equal(bytes, HEADER.length + 30_000 * `a.png,${sha256},cat,0,0.5,,,\r\n`.length);
  const grown = (process.memoryUsage.rss() - before) / 2 ** 20;
  assert.ok(grown < 150, `grew by ${grown} MB for ${(300 * chunk.length) / 2 ** 20} MB of rows`);
});
