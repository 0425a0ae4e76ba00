/**
 * A process of the embedded system under supervision.
 *
 * States: starting -> up -> (died -> starting)* -> stopping -> gone. One that dies while it is not being stopped is
 * started again after a pause that doubles up to 30 s. All run in process groups of their own, so that a Ctrl-C in the
 * terminal reaches only the supervisor, which then ends them in order. None outlives it, however it ends: a Node child
 * ends when its IPC channel closes, another program by the kernel's parent-death signal (Linux).
 */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const SETPRIV = "/usr/bin/setpriv";
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
const START_TIMEOUT_MS = 60_000;

export interface Supervised {
  name: string;
  pid(): number | undefined;
  /** What the process said when it began to listen. */
  url(): string | undefined;
  /** SIGTERM, by force after `graceMs`. Resolves when it is gone. */
  stop(graceMs: number): Promise<void>;
}

export interface NodeSpec {
  name: string;
  module: URL;
  env: NodeJS.ProcessEnv;
  /** Variables that hold from the second start on, made from the address that the first one told. */
  again?(url: string): NodeJS.ProcessEnv;
  logFile: string;
  onRestart(name: string, why: string): void;
}

/** Starts a Cardinal app and resolves when it has sent `{type: "listening", url}`. */
export async function superviseNode(spec: NodeSpec): Promise<Supervised> {
  let child: ChildProcess | undefined;
  let url: string | undefined;
  let stopping = false;
  let pause = FIRST_PAUSE_MS;
  let timer: NodeJS.Timeout | undefined;
  /** Whatever ends a process that was up once, or keeps it from starting again, calls for the next try. */
  const tryAgain = (why: string) => {
    if (stopping || url === undefined) return;
    spec.onRestart(spec.name, why);
    // Its rejection says what the next call of this function says.
    timer = setTimeout(() => start().catch(() => {}), pause);
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  };
  const start = async (): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onEnd = (why: string) => {
      reject(new Error(`${spec.name} ended with ${why}: ${lastLine(spec.logFile)} (${spec.logFile})`));
      tryAgain(`ended with ${why}`);
    };
    try {
      child = launch({ ...spec.env, ...(url !== undefined && spec.again?.(url)) }, spec, onEnd);
    } catch (error) {
      tryAgain(`could not be started (${(error as Error).message})`);
      throw error;
    }
    child.on("message", (message: { type?: string; url?: string }) => {
      if (message.type !== "listening") return;
      url = message.url;
      pause = FIRST_PAUSE_MS;
      resolve();
    });
    const late = setTimeout(
      () => reject(new Error(`${spec.name} did not start, see ${spec.logFile}`)),
      START_TIMEOUT_MS,
    );
    await promise.finally(() => clearTimeout(late));
  };
  const supervised: Supervised = {
    name: spec.name,
    pid: () => child?.pid,
    url: () => url,
    async stop(graceMs) {
      stopping = true;
      clearTimeout(timer);
      if (child) await endProcess(child, graceMs);
    },
  };
  try {
    await start();
  } catch (error) {
    await supervised.stop(0);
    throw error;
  }
  return supervised;
}

/** Forks the app; `onEnd` hears once of its end, or that no process came of it (the machine has no more of them). */
function launch(env: NodeJS.ProcessEnv, { module, logFile }: NodeSpec, onEnd: (why: string) => void): ChildProcess {
  const log = openSync(logFile, "a");
  try {
    const child = fork(fileURLToPath(module), { env, stdio: ["ignore", log, log, "ipc"], detached: true });
    child.once("exit", (code, signal) => onEnd(signal ?? `exit code ${code}`));
    child.on("error", (error) => child.pid === undefined && onEnd(error.message));
    return child;
  } finally {
    closeSync(log);
  }
}

/** The last words of a process, which mostly say why it ended. */
function lastLine(logFile: string): string {
  try {
    const lines = readFileSync(logFile, "utf8").trimEnd().split("\n");
    return lines.at(-1) || "it said nothing";
  } catch (error) {
    return `its log cannot be read (${(error as Error).message})`;
  }
}

/** Starts another program; `config` goes to its standard input. */
export function spawnTied(program: string, args: string[], config: string, logFile: string): ChildProcess {
  const tied = existsSync(SETPRIV);
  const log = openSync(logFile, "a");
  const child = spawn(tied ? SETPRIV : program, tied ? ["--pdeathsig", "TERM", program, ...args] : args, {
    stdio: ["pipe", log, log],
    detached: true,
  });
  closeSync(log);
  child.stdin!.on("error", () => {});
  child.stdin!.end(config);
  return child;
}

/** SIGTERM, and SIGKILL after `graceMs`; resolves when the process is gone. */
export async function endProcess(child: ChildProcess, graceMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), graceMs);
  await gone;
  clearTimeout(timer);
}
