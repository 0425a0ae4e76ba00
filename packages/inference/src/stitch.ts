/**
 * The end of a batch prediction: the parts of all shards become the job's rows and its account.
 *
 * Memory: one part and counts. Stitching again, after a death or when missing shards were redone, writes the
 * objects anew.
 */
import { Readable } from "node:stream";
import { CardinalError, isErrorRow, type PredictSummary, problem, type Row } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import { formatLines, parseLines } from "./json-lines.ts";
import { readPlan } from "./plan.ts";

export interface StitchOptions {
  store: ObjectStore;
  job: string;
  /** Id of the model that answered; its class names fix the order of `classCounts`. */
  model: string;
  classes: readonly string[];
  /** When the job began, in milliseconds since the epoch: `seconds` of the summary counts from here. */
  startedAt: number;
  signal?: AbortSignal;
}

/** A shard without a usable part: `images` inputs of the job from position `first` on have no row. */
export interface MissingShard {
  shard: number;
  first: number;
  images: number;
  reason: "no part" | "wrong number of rows";
}

export interface StitchResult {
  /** Counts what there is: `images` is the number of rows. */
  summary: PredictSummary;
  /** Empty when every input has its row. */
  missing: MissingShard[];
}

/**
 * Writes `rows.jsonl` (a row for every input, in input order) and `errors.jsonl` (its error rows only) from the parts.
 * Shards without a part are left out and reported. Throws `internal_error` when the job has no plan, the store's
 * errors, and the signal's reason.
 */
export async function stitchParts(options: StitchOptions): Promise<StitchResult> {
  const { store, job } = options;
  const plan = await readPlan(store, job);
  if (!plan) throw problem("internal_error", `job ${job} has no complete plan to stitch`);
  const tally = new Tally();
  const missing: MissingShard[] = [];
  await putStream(options, layout.rows(job), async function* () {
    let first = 0;
    for (const [shard, images] of plan.shards.entries()) {
      const part = await readPart(options, shard);
      const reason = part === undefined ? "no part" : part.rows.length === images ? undefined : "wrong number of rows";
      if (reason) missing.push({ shard, first, images, reason });
      else if (part) {
        for (const row of part.rows) tally.add(row, shard);
        yield part.bytes;
      }
      first += images;
    }
  });
  await putStream(options, layout.errors(job), async function* () {
    for (const shard of tally.shardsWithErrors) {
      const rows = (await readPart(options, shard))?.rows ?? [];
      yield formatLines(rows.filter(isErrorRow));
    }
  });
  return { summary: summarise(tally, options, plan.shards.length), missing };
}

interface Part {
  bytes: Buffer;
  rows: Row[];
}

/** A part is held whole: the plan bounds it to some 30 MB. */
async function readPart({ store, job, signal }: StitchOptions, shard: number): Promise<Part | undefined> {
  signal?.throwIfAborted();
  try {
    const bytes = await store.read(layout.part(job, shard), { signal });
    return { bytes, rows: parseLines(bytes) as Row[] };
  } catch (error) {
    if (error instanceof CardinalError && error.code === "object_not_found") return undefined;
    throw error;
  }
}

/** Stores what the generator yields as one object. Throws what the generator throws. */
async function putStream(
  { store, signal }: StitchOptions,
  key: string,
  chunks: () => AsyncGenerator<Buffer>,
): Promise<void> {
  let failure: { error: unknown } | undefined;
  const source = async function* () {
    try {
      yield* chunks();
    } catch (error) {
      failure = { error };
      throw error;
    }
  };
  try {
    await store.put(key, Readable.from(source(), { objectMode: false }), { signal });
  } catch (error) {
    // The store reports a source that failed as `upload_failed`: what it failed of says more.
    throw failure ? failure.error : error;
  }
}

class Tally {
  succeeded = 0;
  failed = 0;
  correct = 0;
  labelled = 0;
  readonly byClass = new Map<string, number>();
  readonly shardsWithErrors = new Set<number>();

  add(row: Row, shard: number): void {
    if (isErrorRow(row)) {
      this.failed++;
      this.shardsWithErrors.add(shard);
      return;
    }
    this.succeeded++;
    this.byClass.set(row.class, (this.byClass.get(row.class) ?? 0) + 1);
    if (row.label === undefined) return;
    this.labelled++;
    if (row.label === row.class) this.correct++;
  }
}

function summarise(tally: Tally, { model, classes, startedAt }: StitchOptions, shards: number): PredictSummary {
  const images = tally.succeeded + tally.failed;
  const seconds = Math.max((Date.now() - startedAt) / 1000, 0.001);
  return {
    model,
    images,
    succeeded: tally.succeeded,
    failed: tally.failed,
    ...(tally.labelled > 0 && { accuracy: tally.correct / tally.labelled }),
    classCounts: [...new Set(classes)].map((name) => ({ class: name, images: tally.byClass.get(name) ?? 0 })),
    seconds,
    imagesPerSecond: images / seconds,
    shards,
  };
}

/** Throws `too_many_failures` when more than `maxFailureRate` of the images have no answer. What is stored stays. */
export function checkFailureRate(summary: PredictSummary, maxFailureRate: number): void {
  if (summary.failed <= maxFailureRate * summary.images) return;
  throw problem(
    "too_many_failures",
    `${summary.failed} of ${summary.images} images have no answer, more than the allowed share of ${maxFailureRate}`,
    { failed: summary.failed, images: summary.images, maxFailureRate },
  );
}
