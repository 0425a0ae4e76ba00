/** The small HTTP server of a worker: /healthz, /readyz and /metrics. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Metrics } from "./metrics.ts";

/** The longest that a probe or a scrape may take. */
const SCRAPE_MS = 10_000;

export interface WorkerServer {
  url: string;
  close(): Promise<void>;
}

export interface WorkerServerOptions {
  host: string;
  port: number;
  metrics: Metrics;
  /** Called before each scrape, to set gauges that are read rather than counted. */
  beforeScrape?: () => Promise<void> | void;
  isReady(): boolean;
}

export async function startWorkerServer(options: WorkerServerOptions): Promise<WorkerServer> {
  const { metrics } = options;
  const server = createServer(async (request, response) => {
    const path = request.url?.split("?")[0];
    try {
      if (path === "/metrics") {
        await options.beforeScrape?.();
        response.setHeader("content-type", metrics.registry.contentType);
        response.end(await metrics.registry.metrics());
      } else if (path === "/healthz") {
        response.end("ok\n");
      } else if (path === "/readyz") {
        response.statusCode = options.isReady() ? 200 : 503;
        response.end(options.isReady() ? "ready\n" : "not ready\n");
      } else {
        response.statusCode = 404;
        response.end("not found\n");
      }
    } catch (error) {
      response.statusCode = 500;
      response.end(`${(error as Error).message}\n`);
    }
  });
  server.headersTimeout = SCRAPE_MS;
  server.requestTimeout = SCRAPE_MS;
  const port = await listen(server, options.port, options.host);
  return { url: `http://${urlHost(options.host)}:${port}`, close: () => closeServer(server, SCRAPE_MS) };
}

/** Listens and gives the port; an address in use is an error. */
export async function listen(server: Server, port: number, host: string): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(port, host, resolve);
  await promise;
  server.off("error", reject);
  return (server.address() as AddressInfo).port;
}

/** How often connections are looked at whose last answer was under way when the server began to close. */
const IDLE_LOOK_MS = 100;

/**
 * Stops listening and waits for the answers under way, for `graceMs` at most; what is still open then is cut. A
 * connection ends with its answer: `server.close()` alone leaves one that was busy to its client, and a client that asks
 * again and again (a watch on a job, a scrape) would keep the server open for ever.
 */
export async function closeServer(server: Server, graceMs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.prependListener("request", (_request, response) => response.setHeader("Connection", "close"));
  server.close(() => resolve());
  const look = setInterval(() => server.closeIdleConnections(), IDLE_LOOK_MS);
  const limit = setTimeout(() => server.closeAllConnections(), graceMs);
  try {
    await promise;
  } finally {
    clearInterval(look);
    clearTimeout(limit);
  }
}

/** A host as it stands in a URL: IPv6 in brackets, "any" addresses as this machine. */
export function urlHost(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "127.0.0.1";
  return host.includes(":") ? `[${host}]` : host;
}
