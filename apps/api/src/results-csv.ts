/** Result rows as CSV. */
import { Duplex } from "node:stream";
import { isErrorRow, type Row } from "@cardinal/contracts";
import { stringify } from "csv-stringify/sync";

const COLUMNS = ["image", "sha256", "class", "index", "probability", "label", "code", "message"];

/**
 * A transform from JSON lines of result and error rows (`rows.jsonl`) to CSV: RFC 4180 with CRLF, UTF-8, a header, one
 * line for every row in the same order; what a row does not have is empty. Text that a spreadsheet would run as a
 * formula (a leading `=`, `+`, `-`, `@`, tab or carriage return) gets a `'` in front. Memory: one chunk of the source
 * and its longest line.
 */
export function resultsCsv(): Duplex {
  return Duplex.from(async function* (source: AsyncIterable<Buffer>) {
    yield csv([COLUMNS]);
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of source) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop()!;
      const records = recordsOf(lines);
      if (records.length > 0) yield csv(records);
    }
    const records = recordsOf([rest + decoder.decode()]);
    if (records.length > 0) yield csv(records);
  });
}

function recordsOf(lines: string[]): unknown[][] {
  return lines.filter((line) => line !== "").map((line) => recordOf(JSON.parse(line) as Row));
}

function recordOf(row: Row): unknown[] {
  if (isErrorRow(row)) return [row.image, "", "", "", "", "", row.code, row.message];
  return [row.image, row.sha256, row.class, row.index, row.probability, row.label ?? "", "", ""];
}

function csv(records: unknown[][]): string {
  return stringify(records, { record_delimiter: "windows", escape_formulas: true });
}
