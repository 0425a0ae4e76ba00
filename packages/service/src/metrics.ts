/**
 * Every metric of Cardinal. Names, help texts and labels stand here and nowhere else; the README's table is compared
 * with this file. Labels hold words of closed sets only: no ids, no names that people choose.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

const JOB_BUCKETS = [0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400];
const STAGE_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const HTTP_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export type Metrics = ReturnType<typeof createMetrics>;

/** A registry with all metrics of a process. One per process; tests make their own. */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  // Gauges that bear a counter's suffix, which promtool rejects; the same numbers exist by type.
  for (const kind of ["handles", "requests", "resources"]) registry.removeSingleMetric(`nodejs_active_${kind}_total`);
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name: `cardinal_${name}`, help, labelNames, registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Gauge<L>({ name: `cardinal_${name}`, help, labelNames, registers });
  const histogram = <L extends string>(name: string, help: string, buckets: number[], labelNames: readonly L[] = []) =>
    new Histogram<L>({ name: `cardinal_${name}`, help, labelNames, buckets, registers });

  const metrics = {
    registry,
    jobs: counter("jobs_total", "Jobs that came to an end, by kind and outcome.", ["kind", "outcome"]),
    jobDuration: histogram("job_duration_seconds", "Time from a run's begin to its end.", JOB_BUCKETS, ["kind"]),
    jobWait: histogram("job_wait_seconds", "Time that a job waited before a run.", JOB_BUCKETS, ["kind"]),
    jobStalls: counter("job_stalls_total", "Entries taken from a worker that went silent.", ["queue"]),
    queueJobs: gauge("queue_jobs", "Entries in a queue, by state, read from Redis.", ["queue", "state"]),
    queueOldestWaiting: gauge("queue_oldest_waiting_seconds", "Age of the oldest waiting entry.", ["queue"]),
    images: counter("images_total", "Images that passed a stage.", ["stage", "outcome"]),
    stage: histogram("stage_seconds", "Time that a stage took for one batch or object.", STAGE_BUCKETS, ["stage"]),
    modelLoad: histogram("model_load_seconds", "Time to load a model into a session.", STAGE_BUCKETS),
    trainLoss: gauge("train_loss", "Loss of the running training job, mean of its latest epoch or step."),
    trainAccuracy: gauge("train_accuracy_ratio", "Accuracy of the running training job's latest epoch.", ["split"]),
    trainEpoch: gauge("train_epoch", "Epoch that the running training job is in, from 1."),
    checkpointAge: gauge("checkpoint_age_seconds", "Time since the running training job's latest checkpoint."),
    trainImages: counter("train_images_total", "Images that training steps have seen."),
    predictAccuracy: gauge("predict_accuracy_ratio", "Accuracy of the latest labelled batch job of this worker."),
    predictionConfidence: histogram(
      "prediction_confidence",
      "Probability of the winning class.",
      [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1],
    ),
    computeMemory: gauge("compute_resident_memory_bytes", "Resident memory of a worker's compute processes."),
    httpRequests: counter("http_requests_total", "Answered requests.", ["route", "method", "status"]),
    httpDuration: histogram("http_request_duration_seconds", "Time to answer a request.", HTTP_BUCKETS, [
      "route",
      "method",
    ]),
    backlog: gauge(
      "backlog_seconds",
      "Work in a queue, in seconds of its live workers at their measured speed (of one, when none is live); no series " +
        "while the speed was never measured.",
      ["queue"],
    ),
    openStreams: gauge("open_streams", "Event streams, followed logs and long polls that an API process keeps open."),
    workers: gauge("workers", "Live workers, by kind, read from Redis.", ["kind"]),
    workerInfo: gauge("worker_info", "Constant 1, with what this worker is.", ["kind", "engine", "version"]),
  };
  // prom-client shows a gauge without labels as 0 from the start: what was never measured must not look measured.
  const unmeasured = [metrics.trainLoss, metrics.trainEpoch, metrics.checkpointAge, metrics.predictAccuracy];
  for (const unknown of [...unmeasured, metrics.openStreams]) {
    unknown.remove();
  }
  return metrics;
}
