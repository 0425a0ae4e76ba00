/**
 * What every worker process is around its work: environment, log, metrics, connection to the queue, heartbeat, a small
 * HTTP server, and an orderly end.
 *
 * The begin: whatever can refuse to start (environment, Redis, a port in use) does so before the first job is taken, or
 * a worker that is started again and again would take jobs and die with them.
 *
 * The end, on SIGTERM: the queue workers take nothing new and drain what runs (the work is saved and waits again), then
 * the compute processes are ended, then the connections are closed.
 */
import { hostname, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { jobKindSchema, PAYLOAD_VERSION, type QueueName, type WorkEvent, type WorkerView } from "@cardinal/contracts";
import { ComputeProcess, QueueConsumer, type QueueWorker, type WorkerEvents } from "@cardinal/queue";
import {
  commonVariables,
  createLogger,
  createMetrics,
  handleShutdown,
  type Logger,
  type Metrics,
  readEnvironment,
  type Shutdown,
  startWorkerServer,
  type Values,
  type Variable,
  version,
  workerVariables,
} from "@cardinal/service";
import { logLineOf } from "./job-log-lines.ts";
import { WorkMetrics } from "./work-metrics.ts";

/** How long a cancelled run may take to end by itself before its process is killed. */
const CANCEL_GRACE_MS = 3_000;

type ShellVariables = typeof commonVariables & typeof workerVariables;

export interface WorkerShell<V extends Record<string, Variable<unknown>>> {
  env: Values<ShellVariables & V>;
  logger: Logger;
  metrics: Metrics;
  work: WorkMetrics;
  consumer: QueueConsumer;
  shutdown: Shutdown;
  /** What queue workers tell, as log lines and metrics. */
  events: WorkerEvents;
  /** A compute process of this worker; ended with it. */
  compute(module: URL, env: Record<string, string>): ComputeProcess;
  /** Metrics, log lines and lines of the job's own log, of a compute process' event. */
  record(event: WorkEvent, job: string): void;
  /** The worker is whole: answer probes, tell the fleet, and drain these workers at the end. */
  start(queues: readonly QueueName[], workers: readonly QueueWorker[]): Promise<void>;
}

export async function openWorkerShell<V extends Record<string, Variable<unknown>>>(
  kind: "train" | "predict",
  engine: string,
  variables: V,
): Promise<WorkerShell<V>> {
  const env = readEnvironment({ ...commonVariables, ...workerVariables, ...variables }, process.env) as Values<
    ShellVariables & V
  >;
  const common: Values<ShellVariables> = env;
  const logger = createLogger(`${kind}-worker`, common.LOG_LEVEL);
  const shutdown = handleShutdown(logger, common.SHUTDOWN_GRACE_SECONDS);
  const metrics = createMetrics();
  metrics.workerInfo.set({ kind, engine, version }, 1);
  const onError = (error: Error) => logger.warn({ err: error }, "connection error");
  const consumer = await QueueConsumer.open(
    {
      redisUrl: common.REDIS_URL,
      namespace: common.CARDINAL_NAMESPACE,
      retentionSeconds: common.JOB_RETENTION_DAYS * 86_400,
    },
    onError,
  );
  shutdown.onClose("queue", () => consumer.close());
  const work = new WorkMetrics(metrics);
  const computes: ComputeProcess[] = [];
  let isWhole = false;
  const server = await startWorkerServer({
    host: common.METRICS_HOST,
    port: common.METRICS_PORT,
    metrics,
    beforeScrape: () => {
      work.update();
      metrics.computeMemory.set(computes.reduce((sum, compute) => sum + compute.rssBytes, 0));
    },
    isReady: () => isWhole && consumer.redis.status === "ready" && !shutdown.isClosing(),
  });
  shutdown.onClose("metrics server", () => server.close());
  return {
    env,
    logger,
    metrics,
    work,
    consumer,
    shutdown,
    events: workerEvents(logger, metrics),
    record(event, job) {
      work.record(event);
      if (event.type === "log") logger[event.level]({ job, ...event.details }, event.message);
      const line = logLineOf(event);
      if (line) consumer.tell(job, ...line);
    },
    compute(module, extra) {
      const compute = new ComputeProcess({
        module: fileURLToPath(module),
        env: { ...process.env, ...extra },
        silenceMs: common.STALL_SECONDS * 1000,
        cancelGraceMs: CANCEL_GRACE_MS,
        onLog: (message, details) => logger.warn(details, message),
      });
      computes.push(compute);
      shutdown.onClose("compute process", () => compute.stop());
      return compute;
    },
    async start(queues, workers) {
      startShell({ kind, engine, logger, metrics, consumer, shutdown, url: server.url, env: common }, queues, workers);
      isWhole = true;
    },
  };
}

interface Started {
  kind: "train" | "predict";
  engine: string;
  logger: Logger;
  metrics: Metrics;
  consumer: QueueConsumer;
  shutdown: Shutdown;
  /** Of the worker's HTTP server. */
  url: string;
  env: Values<ShellVariables>;
}

function startShell(shell: Started, queues: readonly QueueName[], workers: readonly QueueWorker[]): void {
  const { kind, engine, logger, metrics, consumer, shutdown, url, env } = shell;
  // Counters that begin at 0 let rate() see the first job, too.
  for (const queue of queues) {
    const kind = jobKindSchema.safeParse(queue);
    if (!kind.success) continue;
    for (const outcome of ["completed", "failed"]) metrics.jobs.inc({ kind: kind.data, outcome }, 0);
  }
  const startedAt = new Date().toISOString();
  consumer.startHeartbeat(
    (): Omit<WorkerView, "seenAt"> => ({
      id: `${kind}-${hostname()}-${process.pid}`,
      kind,
      host: hostname(),
      pid: process.pid,
      version,
      payloadVersion: PAYLOAD_VERSION,
      queues: [...queues],
      cores: env.THREADS,
      // Without a limit the kernel gives a number near 2^64.
      memoryBytes: Math.min(process.constrainedMemory() || totalmem(), totalmem()),
      engine,
      metricsUrl: `${url}/metrics`,
      startedAt,
      active: workers.flatMap((worker) => worker.active()),
    }),
  );
  shutdown.onClose("workers", () => Promise.all(workers.map((worker) => worker.close())));
  logger.info({ metrics: `${url}/metrics`, queues, threads: env.THREADS, version }, "working");
  process.send?.({ type: "listening", url });
}

function workerEvents(logger: Logger, metrics: Metrics): WorkerEvents {
  return {
    started(kind, waitSeconds, job) {
      metrics.jobWait.observe({ kind }, waitSeconds);
      logger.info({ job, waitSeconds }, `${kind} job begins`);
    },
    ended(kind, outcome, seconds, job, error) {
      if (outcome === "completed" || outcome === "failed") {
        metrics.jobs.inc({ kind, outcome });
        metrics.jobDuration.observe({ kind }, seconds);
      }
      const details = { job, seconds: Math.round(seconds * 100) / 100, ...(error && { error }) };
      if (error) logger.warn(details, `${kind} job ${outcome}`);
      else logger.info(details, `${kind} job ${outcome}`);
    },
    stalled(queue) {
      metrics.jobStalls.inc({ queue });
      logger.warn({ queue }, "an entry was taken from a worker that went silent");
    },
    error: (error) => logger.warn({ err: error }, "queue error"),
  };
}
