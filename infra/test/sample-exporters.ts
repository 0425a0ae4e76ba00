/**
 * The metrics of an API process, a train-worker and a predict-worker, each on a server of its own, with values as after
 * some work. Every scrape finds a little more work done, so that rates are not zero.
 */
import { createServer, type Server } from "node:http";
import { closeServer, createMetrics, listen, type Metrics } from "@cardinal/service";

type Sample = (metrics: Metrics) => void;

const SAMPLES: Record<string, Sample> = {
  api: (m) => {
    for (const queue of ["train", "ingest", "predict", "shard", "image"]) {
      m.queueJobs.set({ queue, state: "waiting" }, 3);
      m.queueJobs.set({ queue, state: "active" }, 1);
      m.queueJobs.set({ queue, state: "delayed" }, 0);
      m.queueOldestWaiting.set({ queue }, 12);
      m.backlog.set({ queue }, 12);
    }
    m.workers.set({ kind: "train" }, 1);
    m.workers.set({ kind: "predict" }, 1);
    for (const status of ["200", "404", "500"]) {
      m.httpRequests.inc({ route: "/v1/jobs/:id", method: "GET", status });
      m.httpDuration.observe({ route: "/v1/jobs/:id", method: "GET" }, 0.02);
    }
  },
  "train-worker": (m) => {
    worker(m, "train", "train");
    m.trainImages.inc(16);
    m.trainLoss.set(0.7);
    m.trainEpoch.set(2);
    m.trainAccuracy.set({ split: "train" }, 0.9);
    m.trainAccuracy.set({ split: "val" }, 0.88);
    m.checkpointAge.set(40);
  },
  "predict-worker": (m) => {
    worker(m, "predict", "predict");
    m.modelLoad.observe(0.3);
    m.predictAccuracy.set(0.98);
    for (const confidence of [0.3, 0.8, 0.97]) m.predictionConfidence.observe(confidence);
  },
};

function worker(m: Metrics, kind: "train" | "predict", stage: string): void {
  m.workerInfo.set({ kind, engine: "test", version: "0.0.0" }, 1);
  m.computeMemory.set(400e6);
  m.images.inc({ stage, outcome: "ok" }, 16);
  m.images.inc({ stage, outcome: "error" });
  m.stage.observe({ stage }, 0.08);
  m.jobWait.observe({ kind }, 3);
  m.jobDuration.observe({ kind }, 45);
  m.jobs.inc({ kind, outcome: "completed" });
  m.jobs.inc({ kind, outcome: "failed" });
  m.jobStalls.inc({ queue: kind });
}

export interface SampleExporters extends AsyncDisposable {
  /** Address by the job's name in prometheus.yml: `127.0.0.1:41234`. */
  addresses: ReadonlyMap<string, string>;
}

export async function startSampleExporters(): Promise<SampleExporters> {
  const servers: Server[] = [];
  const addresses = new Map<string, string>();
  for (const [job, sample] of Object.entries(SAMPLES)) {
    const metrics = createMetrics();
    const server = createServer(async (_request, response) => {
      sample(metrics);
      response.setHeader("content-type", metrics.registry.contentType);
      response.end(await metrics.registry.metrics());
    });
    addresses.set(job, `127.0.0.1:${await listen(server, 0, "127.0.0.1")}`);
    servers.push(server);
  }
  return { addresses, [Symbol.asyncDispose]: async () => void (await Promise.all(servers.map(closeServer))) };
}
