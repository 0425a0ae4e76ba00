/**
 * The part that a shard leaves in the store, one object: a line of JSON about it, a line for each row, and (of
 * `output: "features"`) the features of those rows that have some, float32 little-endian [rows - failed, width].
 *
 * One object, so that rows and features of a shard that is done again change together. A part is held in memory whole;
 * the plan bounds it to some 30 MB.
 */
import { buffer } from "node:stream/consumers";
import {
  type CardinalError,
  type ErrorRow,
  type FeatureRow,
  type JobRow,
  type PredictInput,
  problem,
  type ResultRow,
} from "@cardinal/contracts";
import { layout, type ObjectStore, orAbsent } from "@cardinal/storage";
import { z } from "zod";
import { formatLines, parseLines } from "./json-lines.ts";

/** A row of `output: "features"`, before the rows of other shards are known. */
export type FeatureName = Omit<FeatureRow, "row">;
export type PartRow = ResultRow | ErrorRow | FeatureName;

export const failed = (row: PartRow): row is ErrorRow => "code" in row;

export function errorRow(input: Pick<PredictInput, "image">, error: Pick<CardinalError, "code" | "message">): ErrorRow {
  return { image: input.image, code: error.code, message: error.message };
}

/** Inputs of a shard, from position `first` on. */
export interface Range {
  first: number;
  count: number;
}

const headerSchema = z.strictObject({
  format: z.literal(1),
  rows: z.int(),
  /** Error rows. */
  failed: z.int(),
  /** Bytes of the lines of the rows. */
  rowBytes: z.int(),
  /** Values of an image's features; 0 without features. */
  width: z.int(),
  /** Seconds of work by stage. */
  stages: z.record(z.string(), z.number()),
});
export type PartHeader = z.infer<typeof headerSchema>;

export interface Part {
  rows: PartRow[];
  /** [rows without error, width]; empty without features. */
  features: Float32Array;
  width: number;
  stages: Record<string, number>;
}

/** Its header is shorter than this: what is read to see it alone. */
const HEADER_BYTES = 1024;

export function formatPart({ rows, features, width, stages }: Part): Buffer {
  const lines = formatLines(rows);
  const header: PartHeader = {
    format: 1,
    rows: rows.length,
    failed: rows.filter(failed).length,
    rowBytes: lines.length,
    width,
    stages,
  };
  return Buffer.concat([
    formatLines([header]),
    lines,
    Buffer.from(features.buffer, features.byteOffset, features.byteLength),
  ]);
}

/** Throws `internal_error` when the bytes are not those of a whole part. */
export function parsePart(key: string, bytes: Buffer): Part {
  const header = parseHeader(key, bytes);
  const begin = bytes.indexOf(10) + 1;
  const end = begin + header.rowBytes;
  const rows = parseLines(bytes.subarray(begin, end)) as PartRow[];
  const values = (header.rows - header.failed) * header.width;
  if (rows.length !== header.rows || bytes.length !== end + 4 * values) throw damaged(key);
  // A copy: the values may lie at an odd place of the buffer.
  const features = new Float32Array(new Uint8Array(bytes.subarray(end)).buffer);
  return { rows, features, width: header.width, stages: header.stages };
}

/** Undefined when there is no such part. */
export async function readPart(store: ObjectStore, key: string, signal?: AbortSignal): Promise<Part | undefined> {
  const bytes = await orAbsent(store.read(key, { signal }));
  return bytes && parsePart(key, bytes);
}

/** What a part says of itself, by a small read; undefined when there is no such part. */
export async function readPartHeader(store: ObjectStore, job: string, shard: number): Promise<PartHeader | undefined> {
  const key = layout.part(job, shard);
  const stream = await orAbsent(store.get(key, { range: { first: 0, last: HEADER_BYTES - 1 } }));
  return stream && parseHeader(key, await buffer(stream));
}

function parseHeader(key: string, bytes: Buffer): PartHeader {
  const end = bytes.indexOf(10);
  const header = end < 0 ? undefined : headerSchema.safeParse(parseJson(bytes.subarray(0, end).toString()));
  if (!header?.success) throw damaged(key);
  return header.data;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const damaged = (key: string) => problem("internal_error", `${key} is not a whole part of a batch prediction`);

/** Several parts as one, in their order. */
export function joinParts(parts: readonly Part[]): Part {
  const width = Math.max(0, ...parts.map((part) => part.width));
  const features = new Float32Array(parts.reduce((sum, part) => sum + part.features.length, 0));
  const stages: Record<string, number> = {};
  let at = 0;
  for (const part of parts) {
    features.set(part.features, at);
    at += part.features.length;
    for (const [stage, seconds] of Object.entries(part.stages)) stages[stage] = (stages[stage] ?? 0) + seconds;
  }
  return { rows: parts.flatMap((part) => part.rows), features, width, stages };
}

/** Rows of features say where in the matrix they stand: only now is known how many come before. */
export function numbered(rows: readonly PartRow[], before: number): JobRow[] {
  let row = before;
  return rows.map((each) => (failed(each) || "class" in each ? each : { ...each, row: row++ }));
}
