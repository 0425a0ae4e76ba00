/** An app of the compose file as a plain process: the image's command and the service's environment, in the tree. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { waitFor } from "@cardinal/testing";
import { type ComposeService, ROOT } from "./compose-file.ts";
import { chain, lastOf } from "./dockerfile.ts";

/** From the start to the line that tells the address. */
const START_TIMEOUT_MS = 30_000;
/** Compose's stop_grace_period, in which SIGTERM must have ended a container. */
const STOP_TIMEOUT_MS = 60_000;

export interface ContainerProcess extends AsyncDisposable {
  /** Where the app answers, out of its own log. */
  url: string;
  /** What HEALTHCHECK's command says: its exit code. */
  health(): Promise<number>;
  /** SIGTERM, as `docker compose stop` sends; resolves with the exit code, or the signal that ended it. */
  stop(): Promise<number | string>;
}

/**
 * Starts the app of a service and resolves when it tells its address.
 * @param environment the service's, with the names and ports of containers replaced by this machine's.
 */
export async function startContainerProcess(
  service: ComposeService,
  environment: Record<string, string>,
): Promise<ContainerProcess> {
  const target = service.build?.target ?? "";
  const [, ...args] = lastOf(target, "command") ?? [];
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, ...imageEnvironment(target), ...environment };
  // By the channel the app ends when this test's process dies.
  const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: ["ignore", "pipe", "pipe", "ipc"] });
  const output = collect(child);
  const ended = once(child, "close");
  const stop = async (): Promise<number | string> => {
    if (child.exitCode === null) child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(timer);
    return child.exitCode ?? String(child.signalCode);
  };
  try {
    const url = await waitFor(
      () => {
        if (child.exitCode !== null) throw new Error(`${target} ended with ${child.exitCode}`);
        return /"(?:url|metrics)":"(http:\/\/[^/"]+)/.exec(output())?.[1];
      },
      { what: `${target} to tell its address`, timeoutMs: START_TIMEOUT_MS },
    );
    return {
      url,
      health: () => runHealthcheck(target, url),
      stop,
      [Symbol.asyncDispose]: async () => void (await stop()),
    };
  } catch (error) {
    child.kill("SIGKILL");
    await ended;
    throw new Error(`${(error as Error).message}; it printed:\n${output()}`);
  }
}

/** The image's ENV, without jemalloc, which the machine of a test may not have. */
function imageEnvironment(target: string): Record<string, string> {
  const { LD_PRELOAD: _jemalloc, ...rest } = Object.assign({}, ...chain(target).map((stage) => stage.environment));
  return rest;
}

async function runHealthcheck(target: string, url: string): Promise<number> {
  const [, ...args] = lastOf(target, "healthcheck") ?? [];
  const { port } = new URL(url);
  const env = { PATH: process.env.PATH, API_PORT: port, METRICS_PORT: port };
  const [code] = await once(spawn(process.execPath, args, { env, stdio: "ignore" }), "close");
  return code;
}

function collect(child: ChildProcess): () => string {
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
  }
  return () => text;
}
