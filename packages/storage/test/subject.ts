/** What all parts of the conformance suite share. */
import { createHash } from "node:crypto";
import type { ProblemCode } from "@cardinal/contracts";
import type { ObjectStore } from "../src/index.ts";

export interface Subject {
  /** A store object of its own on the one place that all of the suite's stores share; the suite closes it. */
  open(): Promise<ObjectStore>;
  /** What unfinished uploads have left: temp files, open uploads. */
  leftovers(): Promise<string[]>;
}

export const digestOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** For `assert.rejects`. */
export const code = (expected: ProblemCode) => ({ name: "CardinalError", code: expected });

export async function keysOf(store: ObjectStore, prefix: string, options?: { after?: string }): Promise<string[]> {
  return (await all(store.list(prefix, options))).map(({ key }) => key);
}

export async function bytesOf(store: ObjectStore, ...how: Parameters<ObjectStore["get"]>): Promise<Buffer> {
  return Buffer.concat(await (await store.get(...how)).toArray());
}

/** All that an iterable gives. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}
