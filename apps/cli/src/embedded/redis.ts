/** The Redis of the embedded system: the one of REDIS_URL, or a private server with its data in the data folder. */

import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { findRedis } from "@cardinal/provision";
import type { DataFolder } from "./data-folder.ts";
import { endProcess, spawnTied } from "./supervised.ts";

export interface EmbeddedRedis {
  url: string;
  description: string;
  pid: number | undefined;
  /** Called when the private server ends by itself. */
  onDeath(listener: (why: string) => void): void;
  stop(): Promise<void>;
}

const READY_TIMEOUT_MS = 60_000;

export async function startRedis(folder: DataFolder): Promise<EmbeddedRedis> {
  const found = await findRedis();
  if (!found) throw new Error("no Redis: run npm run setup, or set REDIS_URL");
  if (found.kind === "url") {
    return { url: found.url, description: found.why, pid: undefined, onDeath: () => {}, stop: async () => {} };
  }
  const port = await freePort();
  // The configuration goes in by standard input: a password among the arguments could be read by every user.
  const config = [
    `port ${port}`,
    "bind 127.0.0.1",
    `requirepass ${folder.redisPassword}`,
    `dir "${folder.redis}"`,
    'save ""',
    "appendonly yes",
    "appendfsync everysec",
    "maxmemory-policy noeviction",
    "",
  ].join("\n");
  const logFile = join(folder.logs, "redis.log");
  const child = spawnTied(found.path, ["-"], config, logFile);
  const stop = () => endProcess(child, 20_000);
  try {
    await untilReady(port, folder.redisPassword, () => child.exitCode ?? child.signalCode, logFile);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url: `redis://:${folder.redisPassword}@127.0.0.1:${port}`,
    description: `${found.product} ${found.version} on port ${port}`,
    pid: child.pid,
    onDeath: (listener) => child.once("exit", (code, signal) => listener(`${signal ?? `exit code ${code}`}`)),
    stop,
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function untilReady(port: number, password: string, ended: () => unknown, logFile: string): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (!(await answersPing(port, password).catch(() => false))) {
    if (ended() !== null) throw new Error(`Redis ended with ${ended()}, see ${logFile}`);
    if (performance.now() > deadline) throw new Error(`Redis did not answer, see ${logFile}`);
    await sleep(20);
  }
}

/** Answers only with our password, so another server that took the port meanwhile is not mistaken for ours. */
async function answersPing(port: number, password: string): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    socket.write(`AUTH ${password}\r\nPING\r\n`);
    socket.setEncoding("utf8");
    let answer = "";
    for await (const chunk of socket) {
      answer += chunk;
      if (answer.split("\r\n").length > 2) break;
    }
    return answer.startsWith("+OK\r\n+PONG");
  } finally {
    socket.destroy();
  }
}
