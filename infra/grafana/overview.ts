/**
 * The overview: is work being done, how well, how fast, and what stands in the way.
 *
 * Gauges that the API reads from Redis come from every API process with the same value: they are reduced by max, never
 * summed. Gauges without labels are 0 in processes that never set them: they are joined with `cardinal_worker_info`.
 */
import type { DashboardSpec, PanelSpec, QuerySpec, RowSpec } from "./panels.ts";

/** A rate over what is scraped, for things that happen all the time. */
const rate = (selector: string) => `rate(${selector}[$__rate_interval])`;

/** p50 and p95 of a histogram by one label, over `window`; jobs are rare, so theirs is a long one. */
function quantiles(metric: string, by: string, window: string): QuerySpec[] {
  return [0.5, 0.95].map((quantile) => ({
    expr: `histogram_quantile(${quantile}, sum by (${by}, le) (rate(${metric}_bucket[${window}])))`,
    legend: `{{${by}}} p${quantile * 100}`,
  }));
}

const onWorkers = (metric: string, kind: "train" | "predict") =>
  `${metric} and on (instance) cardinal_worker_info{kind="${kind}"}`;

const now: RowSpec = {
  title: "Now",
  panels: [
    number("Live workers", "Workers that told within the last seconds that they are alive.", "short", {
      expr: "max by (kind) (cardinal_workers)",
      legend: "{{kind}}",
    }),
    number("Waiting", "Entries of all queues that wait for a worker: jobs, shards and single images.", "short", {
      expr: 'sum(max by (queue) (cardinal_queue_jobs{state="waiting"}))',
      legend: "waiting",
    }),
    number("Oldest waiting", "Age of the oldest waiting entry: how long new work will wait at least.", "s", {
      expr: "max(cardinal_queue_oldest_waiting_seconds)",
      legend: "oldest",
    }),
    number("Failed jobs, last hour", "GET /v1/jobs?state=failed lists them with their errors.", "short", {
      expr: 'sum(increase(cardinal_jobs_total{outcome="failed"}[1h])) or vector(0)',
      legend: "failed",
    }),
  ],
};

const throughput: RowSpec = {
  title: "Throughput",
  panels: [
    {
      title: "Images per second",
      description: "Images that went well through a stage, over all workers.",
      unit: "short",
      look: "stack",
      queries: [{ expr: `sum by (stage) (${rate('cardinal_images_total{outcome="ok"}')})`, legend: "{{stage}}" }],
    },
    {
      title: "Jobs per minute",
      description: "Jobs that ended, by kind and outcome, mean of the last five minutes.",
      unit: "short",
      queries: [
        { expr: "60 * sum by (kind, outcome) (rate(cardinal_jobs_total[5m]))", legend: "{{kind}} {{outcome}}" },
      ],
    },
    {
      title: "Failures per minute",
      description: "Images that could not be used, and work taken from workers that went silent (stalls).",
      unit: "short",
      queries: [
        {
          expr: 'sum by (stage) (60 * rate(cardinal_images_total{outcome="error"}[5m]))',
          legend: "images, {{stage}}",
        },
        { expr: "sum by (queue) (60 * rate(cardinal_job_stalls_total[5m]))", legend: "stalls, {{queue}}" },
      ],
    },
  ],
};

const quality: RowSpec = {
  title: "Accuracy",
  panels: [
    {
      title: "Training loss",
      description: "Cross entropy of each running training job, by the worker that runs it.",
      unit: "short",
      queries: [{ expr: onWorkers("cardinal_train_loss", "train"), legend: "{{instance}}" }],
    },
    {
      title: "Training accuracy",
      description: "Accuracy of the latest epoch of each running training job. train above val by far: overfitting.",
      unit: "percentunit",
      max: 1,
      queries: [{ expr: onWorkers("cardinal_train_accuracy_ratio", "train"), legend: "{{split}} {{instance}}" }],
    },
    {
      title: "Batch accuracy",
      description: "Accuracy of the latest batch prediction over labelled images, by the worker that ended it.",
      unit: "percentunit",
      max: 1,
      queries: [{ expr: onWorkers("cardinal_predict_accuracy_ratio", "predict"), legend: "{{instance}}" }],
    },
    {
      title: "Prediction confidence",
      description: "Probability of the winning class. It falls when images come that the model was not trained for.",
      unit: "percentunit",
      max: 1,
      queries: [0.1, 0.5].map((quantile) => ({
        expr: `histogram_quantile(${quantile}, sum by (le) (rate(cardinal_prediction_confidence_bucket[5m])))`,
        legend: `p${quantile * 100}`,
      })),
    },
  ],
};

const queue: RowSpec = {
  title: "Queue",
  panels: [
    {
      title: "Queue depth",
      description:
        "Waiting entries by queue, and how many run or wait to be tried again. Waiting that grows: add workers.",
      unit: "short",
      queries: [
        { expr: 'max by (queue) (cardinal_queue_jobs{state="waiting"})', legend: "{{queue}} waiting" },
        {
          expr: 'sum by (state) (max by (queue, state) (cardinal_queue_jobs{state!="waiting"}))',
          legend: "all queues {{state}}",
        },
      ],
    },
    {
      title: "Oldest waiting entry",
      description: "Age of the oldest waiting entry of each queue.",
      unit: "s",
      queries: [{ expr: "max by (queue) (cardinal_queue_oldest_waiting_seconds)", legend: "{{queue}}" }],
    },
    {
      title: "Backlog",
      description:
        "Work in each queue, in seconds of its live workers at their measured speed (of one worker, when none is live). " +
        "Twice the workers halve it. A kind of work that was never measured is not shown.",
      unit: "s",
      queries: [{ expr: "max by (queue) (cardinal_backlog_seconds)", legend: "{{queue}}" }],
    },
    {
      title: "Wait time",
      description: "Time that jobs waited before a run, of the runs that began in the last 15 minutes.",
      unit: "s",
      queries: quantiles("cardinal_job_wait_seconds", "kind", "15m"),
    },
    {
      title: "Run time",
      description: "Time from a run's begin to its end, of the runs that ended in the last 15 minutes.",
      unit: "s",
      queries: quantiles("cardinal_job_duration_seconds", "kind", "15m"),
    },
  ],
};

const http: RowSpec = {
  title: "API",
  panels: [
    {
      title: "Requests",
      description: "Answered requests per second by route; probes and scrapes are among them.",
      unit: "reqps",
      queries: [{ expr: `sum by (route) (${rate("cardinal_http_requests_total")})`, legend: "{{route}}" }],
    },
    {
      title: "Error answers",
      description: "4xx: the caller's; 5xx: ours; 499: the client went away.",
      unit: "reqps",
      queries: [
        {
          expr: `sum by (route, status) (${rate('cardinal_http_requests_total{status=~"[45].."}')})`,
          legend: "{{status}} {{route}}",
        },
      ],
    },
    {
      title: "Answer time, p95",
      description: "95 of 100 answers were faster. An upload takes as long as the client needs to send it.",
      unit: "s",
      queries: [
        {
          expr: `histogram_quantile(0.95, sum by (route, le) (${rate("cardinal_http_request_duration_seconds_bucket")}))`,
          legend: "{{route}}",
        },
      ],
    },
  ],
};

const workers: RowSpec = {
  title: "Workers",
  panels: [
    {
      title: "Workers",
      description: "Live workers by kind, from their heartbeats in Redis.",
      unit: "short",
      queries: [{ expr: "max by (kind) (cardinal_workers)", legend: "{{kind}}" }],
    },
    {
      title: "Memory of workers",
      description: "Resident memory of the compute processes and of the worker process itself.",
      unit: "bytes",
      queries: ["cardinal_compute_resident_memory_bytes", "process_resident_memory_bytes"].map((metric, index) => ({
        expr: `${metric} * on (instance) group_left (kind) cardinal_worker_info`,
        legend: `${index === 0 ? "compute" : "worker"}, {{kind}} {{instance}}`,
      })),
    },
    {
      title: "Time by stage",
      description: "Time that a stage took for one batch or object.",
      unit: "s",
      queries: quantiles("cardinal_stage_seconds", "stage", "5m"),
    },
    {
      title: "Age of the latest checkpoint",
      description: "What a killed training job would lose. It stays under CHECKPOINT_SECONDS and an epoch's time.",
      unit: "s",
      queries: [{ expr: onWorkers("cardinal_checkpoint_age_seconds", "train"), legend: "{{instance}}" }],
    },
  ],
};

export const overview: DashboardSpec = {
  uid: "cardinal-overview",
  title: "Cardinal",
  description: "Is work being done, how well, how fast, and what stands in the way.",
  rows: [now, throughput, quality, queue, http, workers],
};

function number(title: string, description: string, unit: string, query: QuerySpec): PanelSpec {
  return { title, description, unit, look: "number", queries: [query] };
}
