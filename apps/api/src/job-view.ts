/** A job as its owner sees it. */
import { type Epoch, hasEnded, type JobView, type Progress } from "@cardinal/contracts";
import { type JobQueue, type JobRecord, whyWaiting } from "@cardinal/queue";

/** With the finished epochs of a training. */
export async function wholeJobView(queue: JobQueue, job: JobRecord): Promise<JobView> {
  const epochs = job.kind === "train" && job.progress ? await queue.epochs(job.id) : undefined;
  return jobView(queue, job, epochs);
}

export async function jobView(queue: JobQueue, job: JobRecord, epochs?: Epoch[]): Promise<JobView> {
  const waiting = hasEnded(job.state) ? undefined : whyWaiting(job, await queue.backlog());
  const progress = progressOf(job);
  return {
    id: job.id,
    kind: job.kind,
    state: job.state,
    ...(progress && { progress: { ...progress, ...(epochs && { epochs }) } }),
    request: job.request,
    ...(job.result && { result: job.result }),
    ...(job.error && { error: job.error }),
    attempts: job.attempts,
    ...(job.history.length > 0 && {
      history: job.history.map((end) => ({ ...end, finishedAt: end.finishedAt.toISOString() })),
    }),
    ...(waiting && { waiting }),
    revision: job.revision,
    ...(job.createdBy !== undefined && { createdBy: job.createdBy }),
    createdAt: job.createdAt.toISOString(),
    ...(job.startedAt && { startedAt: job.startedAt.toISOString() }),
    ...(job.finishedAt && { finishedAt: job.finishedAt.toISOString() }),
    links: links(job),
  };
}

/** Predict jobs count their shards, and so do training jobs that wait for features; else a job reports by itself. */
export function progressOf(job: JobRecord, now = Date.now()): Progress | undefined {
  const isExtracting = job.kind === "train" && job.state === "active" && job.parked;
  if (job.total === undefined || !(job.kind === "predict" || isExtracting)) return job.progress;
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
    phase: isExtracting ? "extracting" : left > 0 ? "predicting" : "stitching",
  };
}

function links(job: JobRecord): Record<string, string> {
  const self = `/v1/jobs/${job.id}`;
  const all: Record<string, string> = { self };
  if (job.kind === "predict" && job.finishedAt && job.result) {
    all.results = `${self}/results`;
    all.errors = `${self}/errors`;
    if (job.payload.output !== "features") all.contactSheet = `${self}/contact-sheet`;
  }
  const { result } = job;
  if (job.kind === "train" && typeof result?.model === "string") {
    all.model = `/v1/models/${result.model}`;
    all.report = `${all.model}/files/report.html`;
  }
  if (job.kind === "ingest" && typeof result?.dataset === "string") {
    all.dataset = `/v1/datasets/${result.dataset}/versions/${result.version}`;
  }
  return all;
}
