/**
 * Tells a reader what becomes of a job: a snapshot, then changes, then the end (packages/contracts/src/job-events.ts).
 *
 * An event's id is `<revision>-<epochs>`: what the reader knows after it. All of a job's past lies in its record, so a
 * reader that comes back to any API process with its last id is told what it has missed: the epochs from its number on
 * and the latest of all else. Changes that come faster than they are read, or than `SHORTEST_GAP_MS`, are told as one.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { CardinalError, hasEnded, type JobEvent, type JobView } from "@cardinal/contracts";
import type { JobQueue, JobRecord, JobWatcher } from "@cardinal/queue";
import type { EventStream } from "./event-stream.ts";
import { jobView } from "./job-view.ts";

const HEARTBEAT_MS = 15_000;
/** Looks without being told: for what has no revision (the line before a waiting job), and for lost messages. */
const LOOK_MS = 5_000;
const SHORTEST_GAP_MS = 200;
const OUTAGE_LOOK_MS = 1_000;

export interface Seen {
  revision: number;
  epochs: number;
  /** The reader has heard of the end. */
  ended: boolean;
}

/** What a `Last-Event-ID` says; undefined for one that this API has not given. */
export function seenBy(lastEventId: string | undefined): Seen | undefined {
  const [, revision, epochs, end] = /^(\d{1,15})-(\d{1,6})(-end)?$/.exec(lastEventId ?? "") ?? [];
  if (revision === undefined) return undefined;
  return { revision: Number(revision), epochs: Number(epochs), ended: end !== undefined };
}

const idOf = ({ revision, epochs, ended }: Seen): string => `${revision}-${epochs}${ended ? "-end" : ""}`;

/** Runs until the job has ended or is no longer kept, or the reader has gone (then it throws what the signal says). */
export async function tellJob(
  { queue, watcher }: { queue: JobQueue; watcher: JobWatcher },
  id: string,
  stream: EventStream,
  lastSeen: Seen | undefined,
): Promise<void> {
  using watch = watcher.watch(id);
  const teller = new Teller(queue, id, stream, lastSeen);
  let beatAt = performance.now() + HEARTBEAT_MS;
  for (;;) {
    await watch.changed(Math.max(0, Math.min(LOOK_MS, beatAt - performance.now())), stream.signal);
    stream.signal.throwIfAborted();
    if (performance.now() >= beatAt) {
      await stream.heartbeat();
      beatAt = performance.now() + HEARTBEAT_MS;
    }
    const outcome = await teller.tell();
    if (outcome === "over") return;
    await sleep(outcome === "away" ? OUTAGE_LOOK_MS : SHORTEST_GAP_MS, undefined, { signal: stream.signal });
  }
}

class Teller {
  readonly #queue: JobQueue;
  readonly #id: string;
  readonly #stream: EventStream;
  #seen: Seen | undefined;
  #place: string | undefined;
  #isAway = false;

  constructor(queue: JobQueue, id: string, stream: EventStream, seen: Seen | undefined) {
    this.#queue = queue;
    this.#id = id;
    this.#stream = stream;
    this.#seen = seen;
  }

  /** One look, and what is new. `away`: Redis cannot be asked, which the reader is told once. */
  async tell(): Promise<"on" | "away" | "over"> {
    try {
      const job = await this.#queue.get(this.#id);
      const isOver = await this.#tellNews(job);
      this.#isAway = false;
      return isOver ? "over" : "on";
    } catch (error) {
      if (!(error instanceof CardinalError)) throw error;
      const isGone = error.code === "job_not_found";
      if (!isGone && error.code !== "queue_unavailable") throw error;
      if (isGone || !this.#isAway) await this.#send({ event: "problem", data: error.toRecord() });
      this.#isAway = true;
      return isGone ? "over" : "away";
    }
  }

  async #tellNews(job: JobRecord): Promise<boolean> {
    const known = this.#isAway ? undefined : this.#seen;
    const ended = hasEnded(job.state);
    const isStill = known?.revision === job.revision && ended === known.ended;
    if (isStill && ended) return true;
    const view = await jobView(this.#queue, job);
    const place = JSON.stringify([view.waiting?.code, view.waiting?.jobsAhead, view.waiting?.retryAt]);
    const isMoved = this.#place !== undefined && place !== this.#place;
    this.#place = place;
    if (isStill && !isMoved) return false;
    const epochs = job.kind === "train" ? await this.#queue.epochs(job.id, known?.epochs) : [];
    const seen = { revision: job.revision, epochs: (known?.epochs ?? 0) + epochs.length, ended };
    if (!known && !ended) {
      await this.#send({ event: "snapshot", data: withEpochs(view, epochs) }, seen);
    } else if (!ended) {
      await this.#tellEpochs(known!, epochs);
      await this.#send({ event: "change", data: changeOf(view) }, seen);
    } else {
      if (known) await this.#tellEpochs(known, epochs);
      else await this.#send({ event: "snapshot", data: withEpochs(view, epochs) }, { ...seen, ended: false });
      const all = known && job.kind === "train" ? await this.#queue.epochs(job.id) : epochs;
      await this.#send({ event: "end", data: withEpochs(view, all) }, seen);
    }
    return ended;
  }

  /** Each with the revision from before, so that a reader that is cut off among them is told the change, too. */
  async #tellEpochs(known: Seen, epochs: readonly Extract<JobEvent, { event: "epoch" }>["data"][]): Promise<void> {
    for (const [index, data] of epochs.entries()) {
      await this.#send({ event: "epoch", data }, { ...known, epochs: known.epochs + index + 1, ended: false });
    }
  }

  async #send({ event, data }: JobEvent, seen?: Seen): Promise<void> {
    await this.#stream.send(event, data, seen && idOf(seen));
    if (seen) this.#seen = seen;
  }
}

function withEpochs(view: JobView, epochs: NonNullable<JobView["progress"]>["epochs"] & object): JobView {
  if (!view.progress || view.kind !== "train") return view;
  return { ...view, progress: { ...view.progress, epochs } };
}

function changeOf({ request: _request, result: _result, links: _links, ...change }: JobView) {
  return change;
}
