export { WorkMetrics } from "./work-metrics.ts";
export { openWorkerShell, type WorkerShell } from "./worker-shell.ts";
