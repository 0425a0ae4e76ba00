/**
 * Pages of the list of jobs, from the newest to the oldest.
 *
 * A cursor is the place of a job (when it was made, and its id), not a number of rows: jobs that arrive or expire
 * between two pages, or within one scan, neither repeat a row nor hide one, and a cursor outlives the job that it names.
 */
import { type JobKind, type JobState, problem } from "@cardinal/contracts";
import type { Redis } from "ioredis";
import type { Keys } from "./keys.ts";
import type { JobRecord, JobRecords } from "./records.ts";

export interface ListOptions {
  kind?: JobKind;
  state?: JobState;
  /** `next` of the page before. */
  cursor?: string;
  limit: number;
}

export interface JobPage {
  jobs: JobRecord[];
  /** Absent on the last page. */
  next?: string;
}

/** Rows that are read at a time, and looked at for one page: a filter that few jobs pass gives short pages. */
const CHUNK = 100;
const MOST_LOOKED_AT = 5_000;

interface Place {
  at: number;
  id: string;
}

/** Throws `invalid_request` for a cursor that is none. */
export async function listJobs(redis: Redis, keys: Keys, records: JobRecords, options: ListOptions): Promise<JobPage> {
  const jobs: JobRecord[] = [];
  let last: Place | undefined = options.cursor === undefined ? undefined : placeOf(options.cursor);
  for (let lookedAt = 0; lookedAt < MOST_LOOKED_AT; lookedAt += CHUNK) {
    const places = await placesAfter(redis, keys, last);
    if (places.length === 0) return { jobs };
    for (const { place, job } of await read(records, places, options)) {
      last = place;
      if (!job) continue;
      jobs.push(job);
      if (jobs.length === options.limit) {
        const isLast = place === places.at(-1) && (await placesAfter(redis, keys, last)).length === 0;
        return { jobs, ...(!isLast && { next: cursorOf(place) }) };
      }
    }
  }
  return { jobs, next: cursorOf(last!) };
}

/** The next places in the order of time, then id, both falling. */
async function placesAfter(redis: Redis, keys: Keys, last: Place | undefined): Promise<Place[]> {
  // Jobs of one millisecond share a score: those up to `last` are left out here.
  for (let offset = 0; ; offset += CHUNK) {
    const from = last ? last.at : "+inf";
    const flat = await redis.zrevrangebyscore(keys.jobs, from, "-inf", "WITHSCORES", "LIMIT", offset, CHUNK);
    const places = flat.flatMap((id, index) => (index % 2 === 0 ? [{ id, at: Number(flat[index + 1]) }] : []));
    if (places.length === 0) return [];
    const after = places.filter((place) => !last || place.at < last.at || (place.at === last.at && place.id < last.id));
    if (after.length > 0) return after;
  }
}

/** The jobs at these places that pass the filter; only of those the whole record is read. */
async function read(records: JobRecords, places: readonly Place[], { kind, state }: ListOptions) {
  const ofKind = places.filter(({ id }) => kind === undefined || id.startsWith(`${kind}-`)).map(({ id }) => id);
  const ids = state === undefined ? ofKind : await records.inState(ofKind, state);
  const found = new Map((await records.getMany(ids)).flatMap((job) => (job ? [[job.id, job]] : [])));
  return places.map((place) => {
    const job = found.get(place.id);
    return { place, job: state === undefined || job?.state === state ? job : undefined };
  });
}

const cursorOf = ({ at, id }: Place): string => `${at}.${id}`;

function placeOf(cursor: string): Place {
  const [, at, id] = /^(\d{1,15})\.([a-z]+-[0-9a-z]{26})$/.exec(cursor) ?? [];
  if (at === undefined || id === undefined) {
    throw problem("invalid_request", "cursor: is not one that a page of this list gave", { path: "cursor" });
  }
  return { at: Number(at), id };
}
