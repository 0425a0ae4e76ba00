/**
 * Result rows as CSV: RFC 4180 with CRLF, UTF-8, a header, a line for every row in the same order; what a row does not
 * have is empty. Text that a spreadsheet would run as a formula (a leading `=`, `+`, `-`, `@`, tab or carriage return)
 * gets a `'` in front: a reader that is no spreadsheet takes it off.
 */
import type { JobRow, Output } from "@cardinal/contracts";
import { stringify } from "csv-stringify/sync";
import { failed } from "./part.ts";

export interface CsvOptions {
  topK: number | "all";
  output: Output;
  classes: readonly string[];
}

/** Classes of a row: those after the first have columns `class_2`, `probability_2` and so on. */
const ranks = ({ topK, classes }: CsvOptions): number =>
  Math.min(topK === "all" ? classes.length : topK, classes.length);

const further = (options: CsvOptions): number[] => Array.from({ length: ranks(options) - 1 }, (_, i) => i + 2);

export function csvHeader(options: CsvOptions): Buffer {
  if (options.output === "features") return csv([["image", "sha256", "row", "label", "code", "message"]]);
  const columns = ["image", "sha256", "class", "index", "probability", "label", "code", "message"];
  return csv([[...columns, ...further(options).flatMap((rank) => [`class_${rank}`, `probability_${rank}`])]]);
}

export function csvLines(rows: readonly JobRow[], options: CsvOptions): Buffer {
  return rows.length === 0 ? Buffer.alloc(0) : csv(rows.map((row) => recordOf(row, options)));
}

function recordOf(row: JobRow, options: CsvOptions): unknown[] {
  if (options.output === "features") {
    if (failed(row)) return [row.image, "", "", "", row.code, row.message];
    return [row.image, row.sha256, "row" in row ? row.row : "", row.label ?? "", "", ""];
  }
  const empty = further(options).flatMap(() => ["", ""]);
  if (failed(row)) return [row.image, "", "", "", "", "", row.code, row.message, ...empty];
  if (!("class" in row)) return [row.image, row.sha256, "", "", "", row.label ?? "", "", "", ...empty];
  const top = further(options).flatMap((rank) => [
    row.top[rank - 1]?.class ?? "",
    row.top[rank - 1]?.probability ?? "",
  ]);
  return [row.image, row.sha256, row.class, row.index, row.probability, row.label ?? "", "", "", ...top];
}

function csv(records: unknown[][]): Buffer {
  return Buffer.from(stringify(records, { record_delimiter: "windows", escape_formulas: true }));
}
