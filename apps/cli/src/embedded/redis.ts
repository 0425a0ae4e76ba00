/**
 * The Redis of the embedded system: the one of REDIS_URL, or a private server with its data in the data folder.
 *
 * States of the private server: starting -> up -> (died -> starting)* -> stopping -> gone. One that dies is started
 * again on its port, after a pause that doubles up to 30 s, and finds its data in its append-only file: the processes
 * around it only see an outage.
 */
import type { ChildProcess } from "node:child_process";
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
  /** Of the private server that runs now. */
  pid(): number | undefined;
  stop(): Promise<void>;
}

const READY_TIMEOUT_MS = 60_000;
const PING_TIMEOUT_MS = 2_000;
const STOP_GRACE_MS = 20_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** Resolves when Redis answers. `onRestart` hears why a private server is started again. */
export async function startRedis(folder: DataFolder, onRestart: (why: string) => void): Promise<EmbeddedRedis> {
  const found = await findRedis();
  if (!found) throw new Error("no Redis: run npm run setup, or set REDIS_URL");
  if (found.kind === "url") {
    return { url: found.url, description: found.why, pid: () => undefined, stop: async () => {} };
  }
  const port = await freePort();
  const logFile = join(folder.logs, "redis.log");
  const spawnServer = () => spawnTied(found.path, ["-"], configuration(folder, port), logFile);
  const answers = (child: ChildProcess) =>
    untilReady(port, folder.redisPassword, () => child.exitCode ?? child.signalCode, logFile);

  let child = spawnServer();
  try {
    await answers(child);
  } catch (error) {
    await endProcess(child, STOP_GRACE_MS);
    throw error;
  }
  let stopping = false;
  let pause = FIRST_PAUSE_MS;
  let timer: NodeJS.Timeout | undefined;
  const watch = () => {
    child.once("exit", (code, signal) => {
      if (stopping) return;
      onRestart(`ended with ${signal ?? `exit code ${code}`}`);
      timer = setTimeout(startAgain, pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    });
  };
  const startAgain = () => {
    child = spawnServer();
    watch();
    answers(child).then(
      () => {
        pause = FIRST_PAUSE_MS;
      },
      // One that ended is started again by `watch`; one that hangs is ended, so that `watch` sees it.
      () => child.kill("SIGKILL"),
    );
  };
  watch();
  return {
    url: `redis://:${folder.redisPassword}@127.0.0.1:${port}`,
    description: `${found.product} ${found.version} on port ${port}`,
    pid: () => child.pid,
    async stop() {
      stopping = true;
      clearTimeout(timer);
      await endProcess(child, STOP_GRACE_MS);
    },
  };
}

/** It goes in by standard input: a password among the arguments could be read by every user. */
const configuration = (folder: DataFolder, port: number): string =>
  [
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
  socket.setTimeout(PING_TIMEOUT_MS, () => socket.destroy(new Error("no answer")));
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
