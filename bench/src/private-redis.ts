/** A Redis of the benchmark's own, as Cardinal asks for one: append-only file, synced every second, no eviction. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { type AddressInfo, connect, createServer } from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { findRedisBinary, ProvisionError } from "@cardinal/provision";

const READY_MS = 10_000;
/** Of /proc/PID/stat: USER_HZ, which Linux fixes at 100 for all programs. */
const TICKS_PER_SECOND = 100;

export class PrivateRedis implements AsyncDisposable {
  readonly url: string;
  readonly version: string;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, port: number, version: string) {
    this.#child = child;
    this.url = `redis://127.0.0.1:${port}`;
    this.version = version;
  }

  /** Throws ProvisionError when there is no Redis on this machine. */
  static async start(folder: string): Promise<PrivateRedis> {
    const binary = await findRedisBinary("redis");
    if (!binary) throw new ProvisionError("no Redis: run npm run setup");
    const dir = path.join(folder, "redis");
    await mkdir(dir, { recursive: true });
    const port = await freePort();
    const settings = { port, bind: "127.0.0.1", dir, save: "", appendonly: "yes", "maxmemory-policy": "noeviction" };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const child = spawn(binary.path, args, { stdio: "ignore" });
    const redis = new PrivateRedis(child, port, `${binary.product} ${binary.version}`);
    for (const deadline = performance.now() + READY_MS; !(await listens(port)); await sleep(50)) {
      if (child.exitCode === null && performance.now() < deadline) continue;
      await redis[Symbol.asyncDispose]();
      throw new Error(`${binary.path} does not answer on port ${port}`);
    }
    return redis;
  }

  /** Seconds of CPU that it has used so far. */
  cpuSeconds(): number {
    // The name, in parentheses, may hold spaces; after it, user and system time are the 12th and 13th fields.
    const fields = readFileSync(`/proc/${this.#child.pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  /** The most memory that it has had, in MB. */
  peakMb(): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, "utf8");
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)![1]) / 1e3;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
