/**
 * The end of a batch prediction: the parts of all shards become the job's rows and its account.
 *
 * Memory: one part and counts. Stitching again, after a death or when missing shards were redone, writes the
 * objects anew.
 */
import { Readable } from "node:stream";
import { safetensorsMatrixHeader } from "@cardinal/checkpoint";
import { type ErrorRow, type PredictSummary, problem } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import { formatLines } from "./json-lines.ts";
import { errorRow, failed, numbered, type Part, readPart } from "./part.ts";
import { type PredictionPlan, readInputs, readPlan } from "./plan.ts";
import { csvHeader, csvLines } from "./rows-csv.ts";
import { type AccountOptions, Tally } from "./tally.ts";

export interface StitchOptions extends AccountOptions {
  store: ObjectStore;
  job: string;
  /** Why shards failed, by number: the message of the error rows of their inputs. */
  failures?: ReadonlyMap<number, string>;
  signal?: AbortSignal;
}

/** A shard without a usable part: `images` inputs of the job from position `first` on have no answer. */
export interface MissingShard {
  shard: number;
  first: number;
  images: number;
  reason: "no part" | "wrong number of rows" | "no inputs";
}

export interface StitchResult {
  /** Counts what there is: `images` is the number of rows. */
  summary: PredictSummary;
  /** Empty when every shard has its part. */
  missing: MissingShard[];
}

/**
 * Writes `rows.jsonl` and `rows.csv` (a row for every input, in input order), `errors.jsonl` (the error rows only) and,
 * of features, `features.safetensors` and `names.jsonl` (a line for each row of the matrix) from the parts. Inputs of a shard without a part get error rows (`shard_lost`).
 * Throws `internal_error` when the job has no plan, the store's errors, and the signal's reason.
 */
export async function stitchParts(options: StitchOptions): Promise<StitchResult> {
  const { store, job } = options;
  const plan = await readPlan(store, job);
  if (!plan) throw problem("internal_error", `job ${job} has no complete plan to stitch`);
  const stitch = new Stitch(options, plan);
  const tally = new Tally(options);
  const missing: MissingShard[] = [];
  await stitch.put(layout.rows(job), async function* () {
    let first = 0;
    for await (const { part, shard, images, reason } of stitch.parts()) {
      if (reason) missing.push({ shard, first, images, reason });
      yield formatLines(tally.add(part, shard));
      first += images;
    }
  });
  await stitch.put(layout.rowsCsv(job), async function* () {
    yield csvHeader(options);
    let answered = 0;
    for await (const { part } of stitch.parts()) {
      const rows = numbered(part.rows, answered);
      answered += rows.filter((row) => !failed(row)).length;
      yield csvLines(rows, options);
    }
  });
  await stitch.put(layout.errors(job), async function* () {
    for await (const { part } of stitch.parts(tally.shardsWithErrors)) yield formatLines(part.rows.filter(failed));
  });
  if (options.output === "features") {
    await stitch.put(layout.featureNames(job), async function* () {
      let answered = 0;
      for await (const { part } of stitch.parts()) {
        const rows = numbered(part.rows, answered).filter((row) => !failed(row));
        answered += rows.length;
        yield formatLines(rows);
      }
    });
    await stitch.put(layout.featureMatrix(job), async function* () {
      yield safetensorsMatrixHeader(tally.succeeded, tally.width);
      for await (const { part } of stitch.parts()) yield Buffer.from(part.features.buffer);
    });
  }
  return { summary: tally.summary(plan.shards.length), missing };
}

interface StitchedPart {
  shard: number;
  images: number;
  part: Part;
  reason?: MissingShard["reason"];
}

class Stitch {
  readonly #options: StitchOptions;
  readonly #plan: PredictionPlan;

  constructor(options: StitchOptions, plan: PredictionPlan) {
    this.#options = options;
    this.#plan = plan;
  }

  /** The parts in order, all or those of some shards; one is in memory at a time. */
  async *parts(shards?: ReadonlySet<number>): AsyncGenerator<StitchedPart> {
    const { store, job, signal } = this.#options;
    for (const [shard, images] of this.#plan.shards.entries()) {
      if (shards && !shards.has(shard)) continue;
      signal?.throwIfAborted();
      const part = await readPart(store, layout.part(job, shard), signal);
      const reason = part === undefined ? "no part" : part.rows.length === images ? undefined : "wrong number of rows";
      if (part && !reason) yield { shard, images, part };
      else yield { shard, images, ...(await this.#lost(shard, images, reason!)) };
    }
  }

  /** Error rows in the place of a part. */
  async #lost(shard: number, images: number, reason: MissingShard["reason"]) {
    const { store, job, signal, failures } = this.#options;
    const part: Part = { rows: [], features: new Float32Array(), width: 0, stages: {} };
    const inputs = layout.shardInputs(job, this.#plan.cut, shard);
    if (!(await store.stat(inputs))) return { part, reason: "no inputs" as const };
    const message = `shard ${shard} failed for good: ${failures?.get(shard) ?? reason}`;
    const rows = (await readInputs(store, { inputs, images }, signal)).map(
      (input): ErrorRow => errorRow(input, { code: "shard_lost", message }),
    );
    return { part: { ...part, rows }, reason };
  }

  /** Stores what the generator yields as one object. Throws what the generator throws. */
  async put(key: string, chunks: () => AsyncGenerator<Buffer>): Promise<void> {
    const { store, signal } = this.#options;
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
