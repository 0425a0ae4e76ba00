/** Why a job does not move, for its owner. */
import type { Waiting, WorkerView } from "@cardinal/contracts";
import { PAYLOAD_VERSION, type QueueName } from "@cardinal/contracts";
import type { Backlog } from "./backlog.ts";
import type { JobRecord } from "./records.ts";

/** Undefined for a job that moves or has ended. */
export function whyWaiting(job: JobRecord, backlog: Backlog, now = Date.now()): Waiting | undefined {
  if (job.state === "active") return job.parked ? whyHeldUp(job, backlog) : workerSilent(job, backlog.workers, now);
  if (job.state !== "waiting") return undefined;
  const { jobsAhead, secondsAhead, etaSeconds } = backlog.turn(job);
  const before = { jobsAhead, ...(secondsAhead !== undefined && { secondsAhead: seconds(secondsAhead) }) };
  const eta = etaSeconds === undefined ? {} : { etaSeconds: seconds(etaSeconds) };
  const gap = gapOf(job.kind, backlog.workers);
  if (gap) return { ...gap, ...before };
  if (job.retryAt && job.retryAt.getTime() > now) {
    const text = `its run number ${job.attempts} failed with an error that may heal: it waits for its next attempt`;
    return { code: "retry", text, ...before, retryAt: job.retryAt.toISOString() };
  }
  if (jobsAhead === 0) return { code: "next", text: "is next in line", ...before, ...eta };
  const text = `${jobsAhead} ${job.kind} ${jobsAhead === 1 ? "job comes" : "jobs come"} before it`;
  return { code: "behind", text, ...before, ...eta };
}

/** Workers tell what they run every two seconds, and are taken to be alive for twelve. */
const TOLD_BY_NOW_MS = 8_000;

function workerSilent(job: JobRecord, workers: readonly WorkerView[], now: number): Waiting | undefined {
  if (!job.claimedAt || now - job.claimedAt.getTime() < TOLD_BY_NOW_MS) return undefined;
  if (workers.some(({ active }) => active.includes(job.id))) return undefined;
  return { code: "worker_silent", text: "the worker that ran it has gone silent: another one takes it within 30 s" };
}

/** An active job whose work was cut into shards moves only while somebody takes these. */
function whyHeldUp(job: JobRecord, backlog: Backlog): Waiting | undefined {
  const left = job.total === undefined ? 0 : job.total - job.done;
  if (left <= 0) return undefined;
  const gap = gapOf("shard", backlog.workers);
  if (gap) return gap;
  if (job.kind !== "train") return undefined;
  return { code: "features", text: `predict-workers extract the features of its images: ${left} are left` };
}

/** Why no live worker can take a job from the queue now. */
function gapOf(queue: QueueName, workers: readonly WorkerView[]): Pick<Waiting, "code" | "text"> | undefined {
  const able = workers.filter(({ queues }) => queues.includes(queue));
  if (able.length === 0) return { code: "no_worker", text: `no live worker takes ${queue} jobs` };
  if (able.some(({ payloadVersion }) => payloadVersion >= PAYLOAD_VERSION)) return undefined;
  return { code: "worker_version", text: `every live worker that takes ${queue} jobs is of an older version` };
}

const seconds = (value: number): number => Math.round(value * 10) / 10;
