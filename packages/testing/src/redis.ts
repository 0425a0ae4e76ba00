/** A private Redis or Valkey for a test: own port, own folder, own process. */
import { once } from "node:events";
import { connect } from "node:net";
import { findRedisBinary, type RedisBinary } from "@cardinal/provision";
import { freePorts } from "./free-port.ts";
import { type ServerProcess, startProcess } from "./server-process.ts";
import { type TempDir, tempDir } from "./temp-dir.ts";

export interface RedisOptions {
  /** `redis` unless told; where set-up found no Redis it is Valkey, too (set-up says so). */
  kind?: "redis" | "valkey";
  /** Append-only file, synced every second, as in production; true unless told. */
  appendonly?: boolean;
  /** `noeviction` unless told: a queue must never lose keys. */
  maxmemoryPolicy?: string;
  /** A folder of the caller's, so that data outlives the server; else a temp folder, removed at the end. */
  dir?: string;
  /** For a server that comes back where one died; any free port unless told. */
  port?: number;
  /** Further server options, such as `["--requirepass", "secret"]`. */
  args?: string[];
}

export interface TestRedis extends AsyncDisposable {
  url: string;
  port: number;
  pid: number;
  product: "redis" | "valkey";
  version: string;
  /** Clean end; data is on disk. Disposing does the same. */
  stop(): Promise<void>;
  /** SIGKILL, as when the machine dies. */
  kill(): Promise<void>;
}

const START_TRIES = 5;

/** Starts a server and resolves when it answers PING, having loaded its data. */
export async function startRedis(options: RedisOptions = {}): Promise<TestRedis> {
  const binary = await findRedisBinary(options.kind ?? "redis");
  if (!binary) throw new Error("no Redis for tests; run npm run setup -- --for-tests");
  const own = options.dir === undefined ? await tempDir("redis") : undefined;
  const dir = options.dir ?? (own as TempDir).path;
  try {
    const { server, port } = await startOnFreePort(binary, dir, options);
    const stop = async () => {
      await server.stop();
      await own?.[Symbol.asyncDispose]();
    };
    const { product, version } = binary;
    const url = `redis://127.0.0.1:${port}`;
    return { url, port, pid: server.pid, product, version, stop, kill: server.kill, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await own?.[Symbol.asyncDispose]();
    throw error;
  }
}

async function startOnFreePort(
  binary: RedisBinary,
  dir: string,
  options: RedisOptions,
): Promise<{ server: ServerProcess; port: number }> {
  for (let tries = 1; ; tries += 1) {
    const port = options.port ?? ((await freePorts(1))[0] as number);
    try {
      const server = await startProcess({
        what: `${binary.product} ${binary.version}`,
        program: binary.path,
        args: serverArguments(port, dir, options),
        cwd: dir,
        // On a port that was taken meanwhile another server would answer PING, so ours must say it is ready, too.
        isReady: async (output) => output.includes("Ready to accept connections") && answersPing(port),
      });
      return { server, port };
    } catch (error) {
      const clash = (error as Error).message.includes("Address already in use");
      if (!clash || options.port !== undefined || tries === START_TRIES) throw error;
    }
  }
}

function serverArguments(port: number, dir: string, options: RedisOptions): string[] {
  const { appendonly = true, maxmemoryPolicy = "noeviction", args = [] } = options;
  const network = ["--port", String(port), "--bind", "127.0.0.1"];
  const files = ["--dir", dir, "--save", "", "--appendonly", appendonly ? "yes" : "no", "--appendfsync", "everysec"];
  return [...network, ...files, "--maxmemory-policy", maxmemoryPolicy, ...args];
}

/** PONG, or NOAUTH from a server with a password; LOADING means that it is still reading its data. */
async function answersPing(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    socket.write("PING\r\n");
    const [answer] = await once(socket.setEncoding("utf8"), "data", { signal: AbortSignal.timeout(1000) });
    return answer.startsWith("+PONG") || answer.startsWith("-NOAUTH");
  } finally {
    socket.destroy();
  }
}
