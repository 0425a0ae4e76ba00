/** API processes as an operator runs them, on one Redis and one directory store. */
import { type ChildProcess, fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { QueueConfig } from "@cardinal/queue";
import { tempDir } from "@cardinal/testing";
import { KEY } from "./api-under-test.ts";

export interface ApiProcess {
  url: string;
  child: ChildProcess;
  call(path: string, init?: RequestInit): Promise<Response>;
  /** A gauge or counter without labels. */
  metric(name: string): Promise<number | undefined>;
}

export interface ApiProcesses extends AsyncDisposable {
  queue: QueueConfig;
  start(env?: NodeJS.ProcessEnv): Promise<ApiProcess>;
}

export async function apiProcesses(redisUrl: string): Promise<ApiProcesses> {
  const folder = await tempDir("api-processes");
  const namespace = `t${randomUUID().slice(0, 8)}`;
  const children: ChildProcess[] = [];
  return {
    queue: { redisUrl, namespace, retentionSeconds: 3600 },
    async start(env = {}) {
      const child = fork(fileURLToPath(new URL("../src/main.ts", import.meta.url)), {
        stdio: ["ignore", "ignore", "inherit", "ipc"],
        env: {
          ...{ PATH: process.env.PATH, REDIS_URL: redisUrl, CARDINAL_NAMESPACE: namespace, API_PORT: "0" },
          ...{ STORE_URL: `file://${folder.path}`, API_KEY: KEY, LOG_LEVEL: "silent", SHUTDOWN_GRACE_SECONDS: "2" },
          ...env,
        },
      });
      children.push(child);
      const [message] = (await once(child, "message")) as [{ url: string }];
      return apiAt(message.url, child);
    },
    async [Symbol.asyncDispose]() {
      for (const child of children) await ended(child, "SIGTERM");
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Sends the signal and resolves when the process has gone. */
export async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill(signal);
  await gone;
}

function apiAt(url: string, child: ChildProcess): ApiProcess {
  const call: ApiProcess["call"] = (path, init = {}) =>
    fetch(url + path, { ...init, headers: { authorization: `Bearer ${KEY}`, ...init.headers } });
  return {
    url,
    child,
    call,
    async metric(name) {
      const text = await (await call("/metrics")).text();
      const value = new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1];
      return value === undefined ? undefined : Number(value);
    },
  };
}
