/** The API process: reads its environment, opens what it needs, listens, and closes in the reverse order. */
import { createServer } from "node:http";
import { ApiKeys, RateLimits } from "@cardinal/access";
import { ImageCaller, JobQueue, JobWatcher, type QueueConfig } from "@cardinal/queue";
import {
  apiVariables,
  closeServer,
  commonVariables,
  createLogger,
  createMetrics,
  handleShutdown,
  hostList,
  listen,
  readEnvironment,
  runMain,
  urlHost,
  version,
} from "@cardinal/service";
import { claimStore, openStore, storeConfigFromEnv } from "@cardinal/storage";
import { createApp } from "./app.ts";
import { startHousekeeping } from "./housekeeping.ts";
import { OpenStreams } from "./open-streams.ts";

/**
 * A connection on which nothing moves for so long is cut: a JSON body that never comes, a download that nobody reads.
 * Longer than the longest silence of a sound one, the wait for a single image's answer (IMAGE_TIMEOUT_SECONDS, 300 s at
 * most).
 */
const SILENCE_MS = 330_000;

await runMain(async () => {
  const env = readEnvironment({ ...commonVariables, ...apiVariables }, process.env);
  const logger = createLogger("api", env.LOG_LEVEL);
  const shutdown = handleShutdown(logger, env.SHUTDOWN_GRACE_SECONDS);
  const onError = (error: Error) => logger.warn({ err: error }, "connection error");

  const store = await openStore(storeConfigFromEnv(process.env));
  shutdown.onClose("store", () => store.close());

  const queueConfig: QueueConfig = {
    redisUrl: env.REDIS_URL,
    namespace: env.CARDINAL_NAMESPACE,
    retentionSeconds: env.JOB_RETENTION_DAYS * 86_400,
  };
  const queue = await JobQueue.open(queueConfig, onError);
  shutdown.onClose("queue", () => queue.close());
  if (!(await queue.check()).appendOnly) {
    logger.warn("Redis has no append-only file: a restart of it loses the jobs since its last snapshot");
  }
  await claimStore(store, await queue.installation(), env.STORE_ADOPT === "true");
  const images = await ImageCaller.open(queueConfig, queue, onError);
  shutdown.onClose("image calls", () => images.close());

  const watcher = new JobWatcher(queueConfig, onError);
  shutdown.onClose("job watcher", () => watcher.close());

  const housekeeper = startHousekeeping(store, queue, logger, env.FEATURE_DAYS);
  shutdown.onClose("housekeeping", () => housekeeper.stop());

  const metrics = createMetrics();
  const streams = new OpenStreams(env.MAX_STREAMS, metrics);
  const app = createApp(
    {
      store,
      queue,
      images,
      watcher,
      streams,
      metrics,
      limits: {
        uploadBytes: env.MAX_UPLOAD_MB * 1e6,
        imageBytes: env.MAX_IMAGE_MB * 1e6,
        imageTimeoutMs: env.IMAGE_TIMEOUT_SECONDS * 1000,
      },
      apiKey: env.API_KEY,
      keys: new ApiKeys(queue.internals),
      rates: new RateLimits(queue.internals),
      importHosts: hostList(env.IMPORT_ALLOWED_HOSTS),
      prefixArea: env.PREDICT_PREFIX_AREA,
      isClosing: shutdown.isClosing,
    },
    logger,
  );
  // Headers must come soon; a body may take as long as it brings bytes (upload.ts ends those that stop).
  const server = createServer({ headersTimeout: 10_000, requestTimeout: 0, connectionsCheckingInterval: 2_000 }, app);
  server.setTimeout(SILENCE_MS);
  const port = await listen(server, env.API_PORT, env.API_HOST);
  shutdown.onClose("server", () => closeServer(server, env.SHUTDOWN_GRACE_SECONDS * 1000));
  shutdown.onClose("streams", () => streams.close());
  const url = `http://${urlHost(env.API_HOST)}:${port}`;
  logger.info({ url, version, store: store.description }, "listening");
  process.send?.({ type: "listening", url });
});
