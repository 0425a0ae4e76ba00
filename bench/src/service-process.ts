/** A process of Cardinal's (the API, a worker) as a child that tells when it is ready. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";

const READY_MS = 120_000;
const STOP_MS = 10_000;

export class ServiceProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  /** Where it listens. */
  readonly url: string;

  private constructor(child: ChildProcess, url: string) {
    this.#child = child;
    this.url = url;
  }

  /** Resolves when the process has said `{type: "listening", url}`. */
  static async start(module: URL, env: Record<string, string>): Promise<ServiceProcess> {
    const child = fork(module, { env: { ...process.env, LOG_LEVEL: "warn", ...env } });
    const timer = setTimeout(() => child.kill("SIGKILL"), READY_MS);
    try {
      for await (const [message] of firstMessages(child)) {
        const told = message as { type?: string; url?: string };
        if (told.type === "listening") return new ServiceProcess(child, told.url!);
      }
      throw new Error(`${module.pathname} ended before it was ready`);
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
    await ended;
    clearTimeout(timer);
  }
}

/** Messages until the process ends. */
async function* firstMessages(child: ChildProcess): AsyncGenerator<unknown[]> {
  const ended = once(child, "exit").then(() => undefined);
  for (;;) {
    const next = await Promise.race([once(child, "message"), ended]);
    if (!next) return;
    yield next;
  }
}
