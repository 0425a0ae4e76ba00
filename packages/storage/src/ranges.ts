/** Byte ranges, by the same rules in every store. */
import { problem } from "@cardinal/contracts";
import type { GetOptions } from "./object-store.ts";

/** Throws `range_not_satisfiable` unless the numbers can be a range of some object. */
export function assertRange(key: string, range: GetOptions["range"]): void {
  if (range === undefined) return;
  const { first, last = first } = range;
  if (Number.isSafeInteger(first) && first >= 0 && Number.isSafeInteger(last) && last >= first) return;
  throw problem("range_not_satisfiable", `${first}-${range.last ?? ""} is no range of bytes`, { key, ...range });
}

/** First and last byte to send of `size` ones; a `last` behind the end means the end. */
export function resolveRange(key: string, range: GetOptions["range"], size: number): { first: number; last: number } {
  const first = range?.first ?? 0;
  if (range !== undefined && first >= size) throw outside(key, first, size);
  return { first, last: Math.min(range?.last ?? size - 1, size - 1) };
}

export function outside(key: string, first: number, size?: number): Error {
  const has = size === undefined ? "fewer" : `${size}`;
  return problem("range_not_satisfiable", `byte ${first} of ${key} was asked for; it has ${has}`, { key, first, size });
}
