/** JSON lines: one value a line, each ended by `\n`. */

export function formatLines(values: readonly unknown[]): Buffer {
  return Buffer.from(values.map((value) => `${JSON.stringify(value)}\n`).join(""));
}

/** Throws SyntaxError when a line is not JSON. */
export function parseLines(bytes: Buffer): unknown[] {
  return bytes
    .toString()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}
