/**
 * Finding the image that kills the process that decodes and predicts it, by halving.
 *
 * States of a shard: whole ──the process dies──▶ in ranges ──all are done──▶ joined (its part is written).
 * In ranges, the first pending range is predicted into a piece of its own. When the process dies with it, its halves
 * take its place; a single image that the process has died with twice, alone, is a killer and gets an error row. So an
 * image among n costs log2(n) + 2 deaths and the shard's other images about one further prediction each, and no attempt
 * of the shard.
 *
 * Invariants:
 * - Whatever is decided is saved before the next range is begun: a worker that takes the shard over goes on there. A
 *   worker that died with the child counts as a death of the range that it was at.
 * - done + killers + pending are all inputs of the shard, each once, in order.
 * - A model that cannot be loaded is no image's fault: after a death, the model is loaded without an image unless that
 *   or a range has gone well before (`proven`). When the process dies of that, the shard fails with the death's own
 *   error, which uses an attempt.
 * - After `MAX_DEATHS` the shard fails for good (`job_lost`): it is not a few images then.
 */
import { CardinalError, type ProblemCode, problem } from "@cardinal/contracts";
import { z } from "zod";
import type { Range } from "./part.ts";

/** Enough for four killers among 256 images that lie far apart. */
export const MAX_DEATHS = 40;
/** Once may be chance (another process took the memory), twice alone is not. */
const DEATHS_ALONE = 2;

const rangeSchema = z.strictObject({ first: z.int().min(0), count: z.int().min(1) });

export const killerSearchSchema = z.strictObject({
  pending: z.array(rangeSchema),
  done: z.array(rangeSchema),
  /** Positions of the images, and the code of the death. */
  killers: z.array(z.strictObject({ at: z.int(), code: z.string() })),
  deaths: z.int(),
  /** Deaths of the first pending range, when it is a single image. */
  alone: z.int(),
  /** The process can live: the model was loaded, or a range was predicted. */
  proven: z.boolean(),
  /** How many workers had been lost when this was saved. */
  lostWorkers: z.int(),
  joined: z.boolean(),
});
export type KillerSearch = z.infer<typeof killerSearchSchema>;

export interface ShardVerbs {
  images: number;
  /** What an earlier run of the shard has saved; undefined at the first. */
  saved: unknown;
  /** Workers that went silent with this shard so far. */
  lostWorkers: number;
  /** Predicts a range into a piece, or without a range the whole shard into its part. `count` 0: loads the model. */
  predict(range?: Range): Promise<void>;
  save(search: KillerSearch): Promise<void>;
  /** Writes the part from pieces and killers. */
  join(search: KillerSearch): Promise<void>;
}

/** What a run ends with when its process has died, in whatever way. */
const DEATHS: ReadonlySet<ProblemCode> = new Set(["worker_died", "out_of_memory", "job_stalled"]);

const isDeath = (error: unknown): error is CardinalError => error instanceof CardinalError && DEATHS.has(error.code);

/**
 * Predicts a shard, whatever its images do to the process; true when pieces were made. Throws what is not about the
 * images, and `job_lost`.
 */
export async function predictAround(verbs: ShardVerbs): Promise<boolean> {
  const search = await begin(verbs);
  if (!search) return false;
  if (search.joined) return true;
  for (let range = search.pending[0]; range; range = search.pending[0]) {
    await verbs.save(search);
    try {
      await verbs.predict(range);
      search.done.push(range);
      search.pending.shift();
      search.alone = 0;
      search.proven = true;
    } catch (error) {
      if (!isDeath(error)) throw error;
      await onDeath(verbs, search, error.code);
    }
  }
  await verbs.save(search);
  await verbs.join(search);
  await verbs.save({ ...search, joined: true });
  return true;
}

/** Undefined when the shard is done without any search. */
async function begin(verbs: ShardVerbs): Promise<KillerSearch | undefined> {
  const { saved, images, lostWorkers } = verbs;
  const former = killerSearchSchema.safeParse(saved);
  if (former.success) {
    const search = { ...former.data, lostWorkers };
    if (lostWorkers > former.data.lostWorkers && search.pending.length > 0) await onDeath(verbs, search, "worker_died");
    return search;
  }
  const search: KillerSearch = {
    pending: [{ first: 0, count: images }],
    done: [],
    killers: [],
    deaths: 0,
    alone: 0,
    proven: false,
    lostWorkers,
    joined: false,
  };
  if (lostWorkers > 0) {
    await onDeath(verbs, search, "worker_died");
    return search;
  }
  try {
    await verbs.predict();
    return undefined;
  } catch (error) {
    if (!isDeath(error)) throw error;
    await onDeath(verbs, search, error.code);
    return search;
  }
}

async function onDeath(verbs: ShardVerbs, search: KillerSearch, code: string): Promise<void> {
  const range = search.pending[0]!;
  search.deaths++;
  if (search.deaths > MAX_DEATHS) {
    throw problem(
      "job_lost",
      `the process died ${search.deaths} times with inputs of this shard (${code} at the last)`,
    );
  }
  if (range.count > 1) {
    const half = Math.ceil(range.count / 2);
    const [first, second] = [
      { first: range.first, count: half },
      { first: range.first + half, count: range.count - half },
    ];
    search.pending.splice(0, 1, first, second);
  } else if (++search.alone >= DEATHS_ALONE) {
    search.killers.push({ at: range.first, code });
    search.pending.shift();
    search.alone = 0;
  }
  if (search.proven) return;
  await verbs.save(search);
  await verbs.predict({ first: 0, count: 0 });
  search.proven = true;
}
