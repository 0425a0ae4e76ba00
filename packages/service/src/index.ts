export {
  apiVariables,
  ConfigError,
  commonVariables,
  hostList,
  predictWorkerVariables,
  readEnvironment,
  trainWorkerVariables,
  type Values,
  type Variable,
  workerVariables,
} from "./config.ts";
export { createLogger, type Logger } from "./logger.ts";
export { createMetrics, type Metrics } from "./metrics.ts";
export { handleShutdown, runMain, type Shutdown } from "./shutdown.ts";
export { software, version } from "./version.ts";
export { closeServer, listen, startWorkerServer, urlHost, type WorkerServer } from "./worker-server.ts";
