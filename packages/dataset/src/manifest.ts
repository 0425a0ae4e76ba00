/**
 * `manifest.jsonl`: a line of JSON for each image, lines sorted by split (train, val, all) and then by path in code
 * point order, keys in one order. So the same files give the same bytes, and their SHA-256 is the data set's version.
 */
import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { type ManifestRow, manifestRowSchema, problem, type Split } from "@cardinal/contracts";
import { codePointOrder } from "./order.ts";

export const SPLITS = ["train", "val", "all"] as const satisfies Split[];

export interface Manifest {
  /** SHA-256 of the whole manifest. */
  version: string;
  /** The lines of each split that has any; the manifest is their concatenation in this order. */
  splits: { split: Split; lines: Buffer }[];
}

export function writeManifest(rows: readonly ManifestRow[]): Manifest {
  const sorted = [...rows].sort((a, b) => codePointOrder(a.path, b.path));
  const splits = SPLITS.map((split) => {
    const lines = sorted.filter((row) => row.split === split).map((row) => `${JSON.stringify(inKeyOrder(row))}\n`);
    return { split, lines: Buffer.from(lines.join("")) };
  }).filter(({ lines }) => lines.length > 0);
  const hash = createHash("sha256");
  for (const { lines } of splits) hash.update(lines);
  return { version: hash.digest("hex"), splits };
}

function inKeyOrder(row: ManifestRow): ManifestRow {
  const { path, split, class: label, sha256, bytes, width, height, format } = row;
  return { path, split, ...(label !== undefined && { class: label }), sha256, bytes, width, height, format };
}

/** The rows of a stream of lines. Throws `dataset_corrupt` with the line's number when one is not a row. */
export async function* parseManifest(stream: Readable, name: string): AsyncGenerator<ManifestRow> {
  let number = 0;
  for await (const line of lines(stream)) {
    number++;
    const row = manifestRowSchema.safeParse(parseJson(line));
    if (!row.success) {
      const [issue] = row.error.issues;
      const what = `${issue?.path.join(".") || "line"}: ${issue?.message}`;
      throw problem("dataset_corrupt", `line ${number} of ${name} is not a manifest row (${what})`, { line: number });
    }
    yield row.data;
  }
}

/** A JSON value; undefined, which no schema takes, when the text is none. */
export function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** Lines end with a line feed and nothing else: names may hold a carriage return or U+2028. */
async function* lines(stream: Readable): AsyncGenerator<string> {
  let rest: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      yield Buffer.concat([...rest, chunk.subarray(from, end)]).toString();
      rest = [];
      from = end + 1;
    }
    if (from < chunk.length) rest.push(chunk.subarray(from));
  }
  if (rest.length > 0) yield Buffer.concat(rest).toString();
}
