/** One shard of a batch prediction, or a range of it: inputs in, one part object of rows out. */

import { type Emit, type PredictInput, problem, type ShardPayload, type WorkEvent } from "@cardinal/contracts";
import { batches, timed } from "@cardinal/dataset";
import { layout, type ObjectStore } from "@cardinal/storage";
import { answerBatch } from "./answer-batch.ts";
import { failed, formatPart, joinParts, type Part, type Range, readPart } from "./part.ts";
import { readInputs } from "./plan.ts";
import { type Read, readInput } from "./read-input.ts";
import type { LoadedModel, SessionPool } from "./session-pool.ts";

export interface PredictShardOptions {
  store: ObjectStore;
  payload: ShardPayload;
  /** Of the shard's inputs only these, into a piece of its own; no inputs at all: the model is loaded, that is all. */
  range?: Range;
  models: SessionPool;
  /** Bytes of an image by digest: `blobReader`, whose `image_not_found` becomes an error row. */
  read: Read;
  /** Images in one run of the network. Above 4 a CPU gains nothing, and every image in a batch takes memory. */
  batchSize: number;
  /** Batches that are read and decoded while the network runs. */
  prefetch?: number;
  /** Awaited before each run of the network: more urgent work may go first. */
  turn?(): Promise<void>;
  emit: Emit;
  signal?: AbortSignal;
}

export interface ShardResult {
  images: number;
  succeeded: number;
  failed: number;
  seconds: number;
}

/**
 * Predicts every input of a shard and writes its part: one row for every input, in input order. An image that cannot
 * be answered is an error row; trouble with the store or the model throws and writes nothing, and the shard can be
 * done again. Doing it again gives the same rows. Of a shard that is to be redone (`payload.redo`), rows without error
 * are taken over from the part that is there. An abort throws the signal's reason.
 */
export async function predictShard(options: PredictShardOptions): Promise<ShardResult> {
  const { store, payload, range, models, emit, signal } = options;
  const start = performance.now();
  const { first, count } = range ?? { first: 0, count: payload.images };
  const inputs = (await readInputs(store, payload, signal)).slice(first, first + count);
  const former = payload.redo && (await readPart(store, layout.part(payload.job, payload.shard), signal));
  const kept = former && sliceOf(former, first, count);
  const part = await models.use(payload.model, (model) => predictRows(options, model, inputs, kept), emit);
  if (count > 0) await write(options, part);
  const lost = part.rows.filter(failed).length;
  const seconds = (performance.now() - start) / 1000;
  return { images: inputs.length, succeeded: inputs.length - lost, failed: lost, seconds };
}

async function write({ store, payload, range, emit, signal }: PredictShardOptions, part: Part): Promise<void> {
  const { job, shard } = payload;
  const key = range ? layout.piece(job, shard, range.first, range.count) : layout.part(job, shard);
  await timed(emit, "write", () => store.put(key, formatPart(part), { signal }));
}

/** A part of these rows of a part. */
function sliceOf({ rows, features, width, stages }: Part, first: number, count: number): Part {
  const answered = (to: number) => rows.slice(0, to).filter((row) => !failed(row)).length;
  const [from, to] = [answered(first), answered(first + count)];
  // The time that the former run took is told once, with the rows from the first on.
  return {
    rows: rows.slice(first, first + count),
    features: features.subarray(from * width, to * width),
    width,
    stages: first === 0 ? stages : {},
  };
}

/** Rows for the inputs: those of `kept` that are no errors as they are, the others computed. */
async function predictRows(
  options: PredictShardOptions,
  model: LoadedModel,
  inputs: PredictInput[],
  kept: Part | undefined,
): Promise<Part> {
  if (!kept) return computeRows(options, model, inputs);
  if (kept.rows.length !== inputs.length) {
    throw problem("internal_error", `a part has ${kept.rows.length} rows where there are ${inputs.length} inputs`);
  }
  const wanted = inputs.filter((_, i) => failed(kept.rows[i]!));
  const computed = await computeRows(options, model, wanted);
  return merge(kept, computed);
}

/** Puts computed rows in the places of the error rows. */
function merge(kept: Part, computed: Part): Part {
  const width = Math.max(kept.width, computed.width);
  const taken = { kept: 0, computed: 0, rows: 0 };
  const pieces: Part[] = kept.rows.map((row) => {
    const isOld = !failed(row);
    const from = isOld ? kept : computed;
    const next = isOld ? row : computed.rows[taken.rows++]!;
    if (failed(next)) return { rows: [next], features: new Float32Array(), width, stages: {} };
    const at = isOld ? taken.kept++ : taken.computed++;
    return { rows: [next], features: from.features.subarray(at * width, (at + 1) * width), width, stages: {} };
  });
  const { rows, features } = joinParts(pieces);
  return { rows, features, width, stages: joinParts([kept, computed]).stages };
}

async function computeRows(options: PredictShardOptions, model: LoadedModel, inputs: PredictInput[]): Promise<Part> {
  const { signal, batchSize, prefetch = 2 } = options;
  const { topK, output = "classes" } = options.payload;
  const stages: Record<string, number> = {};
  const emit = (event: WorkEvent) => {
    if (event.type === "stage") stages[event.stage] = (stages[event.stage] ?? 0) + event.seconds;
    options.emit(event);
  };
  const digests = new Map<PredictInput, string>();
  const answered: Part[] = [];
  let done = 0;
  const start = performance.now();
  const stream = batches(inputs, {
    read: (input) => readInput(options, input, digests),
    transform: model.manifest.transform,
    layout: "nchw",
    batchSize,
    prefetch,
    emit,
    signal,
  });
  for await (const batch of stream) {
    await options.turn?.();
    signal?.throwIfAborted();
    answered.push(await answerBatch(model, batch, { topK, output, digests, emit }));
    done += batch.entries.length;
    emit(progress(done, inputs.length, (performance.now() - start) / 1000));
  }
  return { ...joinParts(answered), stages };
}

function progress(done: number, total: number, seconds: number): WorkEvent {
  const percent = (100 * done) / total;
  const imagesPerSecond = done / seconds;
  return {
    type: "progress",
    progress: { done, total, unit: "images", percent, phase: "predicting", imagesPerSecond },
  };
}
