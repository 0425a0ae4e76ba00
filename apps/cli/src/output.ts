/** How commands answer: JSON for programs, text and tables for people. */
import { styleText } from "node:util";

/** One JSON document on standard output. */
export function writeJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

/** JSON when it was asked for, else what `text` says. */
export function answer(json: boolean | undefined, value: unknown, text: () => string): void {
  if (json) writeJson(value);
  else console.log(text());
}

/** Columns as wide as their widest cell; the heading is bold on a terminal. */
export function table(heading: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [heading, ...rows.map((row) => row.map(String))];
  const widths = heading.map((_, column) => Math.max(...cells.map((row) => [...(row[column] ?? "")].length)));
  const lines = cells.map((row) =>
    row
      .map((cell, column) => cell + " ".repeat(widths[column]! - [...cell].length))
      .join("  ")
      .trimEnd(),
  );
  return [bold(lines[0]!), ...lines.slice(1)].join("\n");
}

/** Colours are for terminals that want them (NO_COLOR is heeded). */
export const bold = (text: string): string => styleText("bold", text, { stream: process.stdout });

export const percent = (ratio: number): string => `${(100 * ratio).toFixed(2)}%`;

/** Progress and notes: standard error, so that standard output holds answers alone. */
export function note(text: string): void {
  console.error(text);
}
