/** A job as its owner sees it. */
import { type JobView, PAYLOAD_VERSION, type Progress } from "@cardinal/contracts";
import { type JobQueue, type JobRecord, waitingReason, whyNoWorker } from "@cardinal/queue";

export async function jobView(queue: JobQueue, job: JobRecord): Promise<JobView> {
  const reason = await reasonToWait(queue, job);
  const progress = progressOf(job);
  return {
    id: job.id,
    kind: job.kind,
    state: job.state,
    ...(progress && { progress }),
    request: job.request,
    ...(job.result && { result: job.result }),
    ...(job.error && { error: job.error }),
    attempts: job.attempts,
    ...(job.history.length > 0 && {
      history: job.history.map((end) => ({ ...end, finishedAt: end.finishedAt.toISOString() })),
    }),
    ...(reason && { waitingReason: reason }),
    createdAt: job.createdAt.toISOString(),
    ...(job.startedAt && { startedAt: job.startedAt.toISOString() }),
    ...(job.finishedAt && { finishedAt: job.finishedAt.toISOString() }),
    links: links(job),
  };
}

async function reasonToWait(queue: JobQueue, job: JobRecord): Promise<string | undefined> {
  if (job.state === "waiting") {
    const gap = whyNoWorker(await queue.workers(), job.kind, PAYLOAD_VERSION);
    return waitingReason(job, await queue.waitingBefore(job), gap);
  }
  // An active predict job waits for its shards, which can lack a worker, too.
  if (job.kind !== "predict" || job.state !== "active") return undefined;
  return whyNoWorker(await queue.workers(), "shard", PAYLOAD_VERSION);
}

/** Predict jobs count their shards; other kinds report by themselves. */
export function progressOf(job: JobRecord, now = Date.now()): Progress | undefined {
  if (job.kind !== "predict" || job.total === undefined) return job.progress;
  const seconds = ((job.finishedAt?.getTime() ?? now) - (job.startedAt?.getTime() ?? now)) / 1000;
  const perSecond = seconds > 0 ? job.done / seconds : 0;
  const left = job.total - job.done;
  return {
    done: job.done,
    total: job.total,
    unit: "images",
    percent: job.total === 0 ? 100 : Math.round((1000 * job.done) / job.total) / 10,
    ...(left > 0 && perSecond > 0 && { etaSeconds: Math.round(left / perSecond) }),
    ...(perSecond > 0 && { imagesPerSecond: Math.round(perSecond * 10) / 10 }),
    phase: left > 0 ? "predicting" : "stitching",
  };
}

function links(job: JobRecord): Record<string, string> {
  const self = `/v1/jobs/${job.id}`;
  const all: Record<string, string> = { self };
  if (job.kind === "predict" && job.finishedAt && job.result) {
    all.results = `${self}/results`;
    all.errors = `${self}/errors`;
  }
  const { result } = job;
  if (job.kind === "train" && typeof result?.model === "string") all.model = `/v1/models/${result.model}`;
  if (job.kind === "ingest" && typeof result?.dataset === "string") {
    all.dataset = `/v1/datasets/${result.dataset}/versions/${result.version}`;
  }
  return all;
}
