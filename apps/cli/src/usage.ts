/** Options of the commands, parsed by Node's own parser. */
import { type ParseArgsOptionsConfig, parseArgs } from "node:util";

/** A call that the command does not understand. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export function parseOptions<O extends ParseArgsOptionsConfig>(args: string[], options: O) {
  try {
    return parseArgs({ args, options, allowPositionals: false }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

export function wholeNumber(text: string, option: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new UsageError(`--${option} must be a whole number from ${min} to ${max}, not ${JSON.stringify(text)}`);
}
