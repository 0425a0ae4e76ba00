/**
 * A server program as a child process of a test.
 *
 * States:  starting -> ready -> ended (stopped, killed or crashed);  starting -> failed
 * Invariants: `startProcess` resolves only when the server answers, and leaves no process when it rejects; a server
 * ends with the test process, however that ends (Linux: the kernel's parent-death signal).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 10_000;
const SETPRIV = "/usr/bin/setpriv";

export interface ProcessSpec {
  /** For errors: "redis 7.0.15". */
  what: string;
  program: string;
  args: string[];
  env?: NodeJS.ProcessEnv;
  cwd: string;
  /** True as soon as the server answers; false or an error mean "not yet". It gets what was printed so far. */
  isReady: (output: string) => Promise<boolean>;
}

export interface ServerProcess {
  pid: number;
  /** Ends it in its own way (SIGTERM), by force after 10 s; resolves when it is gone. */
  stop(): Promise<void>;
  /** SIGKILL, as a crash would; resolves when it is gone. */
  kill(): Promise<void>;
}

export async function startProcess(spec: ProcessSpec): Promise<ServerProcess> {
  const child = spawnTied(spec);
  const output = collectOutput(child);
  const ended = once(child, "close").catch(() => undefined);
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(timer);
  };
  try {
    await untilReady(spec, child, output);
  } catch (error) {
    await end("SIGKILL");
    throw new Error(`${spec.what}: ${(error as Error).message}; it printed:\n${output()}`);
  }
  return { pid: child.pid as number, stop: () => end("SIGTERM"), kill: () => end("SIGKILL") };
}

/** setpriv becomes the program by exec, so the process id is the server's. */
function spawnTied(spec: ProcessSpec): ChildProcess {
  const tied = existsSync(SETPRIV);
  const program = tied ? SETPRIV : spec.program;
  const args = tied ? ["--pdeathsig", "KILL", spec.program, ...spec.args] : spec.args;
  const env = { ...process.env, ...spec.env };
  return spawn(program, args, { cwd: spec.cwd, env, stdio: ["ignore", "pipe", "pipe"] });
}

/** Drains both streams (a full pipe would block the server) and keeps the end for error messages. */
function collectOutput(child: ChildProcess): () => string {
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (chunk: string) => {
      text = (text + chunk).slice(-4000);
    });
  }
  return () => text.trimEnd();
}

async function untilReady(spec: ProcessSpec, child: ChildProcess, output: () => string): Promise<void> {
  let failed: Error | undefined;
  child.once("error", (error) => {
    failed = error;
  });
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    if (failed) throw failed;
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`ended (${child.signalCode ?? child.exitCode}) before it answered`);
    }
    if (await spec.isReady(output()).catch(() => false)) return;
    if (performance.now() > deadline) throw new Error(`did not answer within ${READY_TIMEOUT_MS / 1000} s`);
    await sleep(20);
  }
}
