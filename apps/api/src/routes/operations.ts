/** What operators and probes ask: health, readiness, metrics. Open without a key. */
import { queueNames } from "@cardinal/contracts";
import { Router } from "express";
import type { ApiContext } from "../context.ts";

export function operationRoutes(context: ApiContext): Router {
  const { store, queue, metrics } = context;
  const router = Router();

  router.get("/healthz", (_request, response) => {
    response.json({ status: "ok" });
  });

  router.get("/readyz", async (_request, response) => {
    const outcome = (check: Promise<unknown>) =>
      check.then(
        () => "ok",
        (error: Error) => error.message,
      );
    const [redis, objects] = await Promise.all([outcome(queue.check()), outcome(store.check())]);
    const ready = redis === "ok" && objects === "ok" && !context.isClosing();
    response.status(ready ? 200 : 503).json({ status: ready ? "ready" : "not ready", redis, store: objects });
  });

  router.get("/metrics", async (request, response) => {
    await readGauges(context).catch((error) => request.log.warn({ err: error }, "queue gauges cannot be read"));
    response.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });
  return router;
}

/** Gauges that are read from Redis at each scrape. When Redis is away they are left out rather than left standing. */
async function readGauges({ queue, metrics }: ApiContext): Promise<void> {
  metrics.queueJobs.reset();
  metrics.queueOldestWaiting.reset();
  metrics.workers.reset();
  metrics.backlog.reset();
  const [depths, workers] = await Promise.all([queue.depths(), queue.workers()]);
  const backlog = await queue.backlogSeconds(depths);
  for (const name of queueNames) {
    const seconds = backlog[name];
    if (seconds !== undefined) metrics.backlog.set({ queue: name }, seconds);
    const depth = depths[name];
    for (const state of ["waiting", "active", "delayed"] as const) {
      metrics.queueJobs.set({ queue: name, state }, depth[state]);
    }
    metrics.queueOldestWaiting.set({ queue: name }, depth.oldestWaitingSeconds);
  }
  for (const kind of ["train", "predict"] as const) {
    metrics.workers.set({ kind }, workers.filter((worker) => worker.kind === kind).length);
  }
}
