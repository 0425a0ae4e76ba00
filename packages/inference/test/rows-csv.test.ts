import assert from "node:assert/strict";
import { test } from "node:test";
import type { JobRow } from "@cardinal/contracts";
import { type CsvOptions, csvHeader, csvLines } from "../src/rows-csv.ts";

const sha256 = "ab".repeat(32);
const answer = { image: "a.png", sha256, class: "cat", index: 0, probability: 0.5, top: [] };
const one: CsvOptions = { topK: 1, output: "classes", classes: ["cat", "dog", "cow"] };
const HEADER = "image,sha256,class,index,probability,label,code,message\r\n";

const csvOf = (rows: JobRow[], options = one): string =>
  Buffer.concat([csvHeader(options), csvLines(rows, options)]).toString();

test("rows become lines in order; what a row does not have is empty", () => {
  const csv = csvOf([
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

test("further classes have columns of their own, as many as were asked for or as there are", () => {
  const top = ["cat", "dog", "cow"].map((name, index) => ({ class: name, index, probability: 0.5 - index / 10 }));
  const error = { image: "b.png", code: "empty_file", message: "no bytes" };
  for (const topK of [5, "all"] as const) {
    const [header, first, second] = csvOf([{ ...answer, top }, error], { ...one, topK }).split("\r\n");
    assert.equal(header, `${HEADER.trim()},class_2,probability_2,class_3,probability_3`);
    assert.equal(first, `a.png,${sha256},cat,0,0.5,,,,dog,0.4,cow,0.3`);
    assert.equal(second, "b.png,,,,,,empty_file,no bytes,,,,");
  }
  assert.ok(csvOf([], { ...one, topK: 2 }).endsWith("message,class_2,probability_2\r\n"));
});

test("features: the row of the matrix", () => {
  const rows: JobRow[] = [
    { image: "a.png", sha256, row: 0, label: "cat" },
    { image: "b.png", code: "empty_file", message: "no bytes" },
  ];
  assert.equal(
    csvOf(rows, { ...one, output: "features" }),
    `image,sha256,row,label,code,message\r\na.png,${sha256},0,cat,,\r\nb.png,,,,empty_file,no bytes\r\n`,
  );
});

test("no rows give the header", () => {
  assert.equal(csvOf([]), HEADER);
});

test("quotes, commas and line breaks are quoted as RFC 4180 says", () => {
  const csv = csvOf([{ image: 'a "b", c\n.png', code: "not_an_image", message: "x\r\ny" }]);
  assert.equal(csv, `${HEADER}"a ""b"", c\n.png",,,,,,not_an_image,"x\r\ny"\r\n`);
});

test("names of every script, with spaces, %, +, # and ?, come out as they are, in UTF-8 without a mark", () => {
  const names = ["train/é/中 1%+#?.png", "Ａ/😀.jpg", "a b/c;d.png", "%2e%2e/100%.png"];
  const csv = csvOf(names.map((image) => ({ ...answer, image })));
  assert.ok(csv.startsWith("image"));
  assert.deepEqual(
    csv
      .split("\r\n")
      .slice(1, -1)
      .map((line) => line.split(",")[0]),
    names,
  );
});

test("text that a spreadsheet would run as a formula is defused, numbers are not", () => {
  for (const lead of ["=", "+", "-", "@", "\t", "\r"]) {
    const image = `${lead}HYPERLINK()`;
    const csv = csvOf([
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
