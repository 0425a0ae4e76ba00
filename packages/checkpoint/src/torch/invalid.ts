import { type CardinalError, problem } from "@cardinal/contracts";

/** The error of every file of weights that cannot be read. */
export function invalid(why: string, details?: Record<string, unknown>, cause?: unknown): CardinalError {
  return problem("invalid_checkpoint", why, details, cause);
}

const SHOWN_CHARACTERS = 80;

/** A name out of a file, fit for a message: one line, printable, of bounded length. */
export function shown(name: string): string {
  const cut = name.length > SHOWN_CHARACTERS ? `${name.slice(0, SHOWN_CHARACTERS)}…` : name;
  return cut.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "?");
}

/** Three names and how many more there are. */
export function listed(names: readonly string[]): string {
  const first = names.slice(0, 3).map(shown).join(", ");
  return names.length <= 3 ? first : `${first} and ${names.length - 3} more`;
}
