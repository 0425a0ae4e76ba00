/**
 * The S3 server that tests run against: an endpoint given by the environment, else `minio` or `weed` on PATH, else
 * SeaweedFS' `weed`, built by Go from the pinned modules of `weed/go.mod` into the cache (about five minutes on two
 * cores, once a machine). Of the servers that package registries carry it is the one that passes every check of the
 * storage suite; see ../weed/README.md.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { ensureEntry, findEntry } from "./cache.ts";
import type { Part } from "./part.ts";
import { ProvisionError, run, which } from "./run.ts";

export type S3Server =
  | { kind: "endpoint"; endpoint: string; accessKey: string; secretKey: string; why: string }
  | { kind: "binary"; product: "minio" | "weed"; path: string; why: string };

const MODULE = "github.com/seaweedfs/seaweedfs";
const WEED_FOLDER = path.join(import.meta.dirname, "../weed");
const WAYS =
  "ways to get one: set S3_TEST_ENDPOINT, S3_TEST_ACCESS_KEY and S3_TEST_SECRET_KEY; put minio or weed on PATH; " +
  "install Go 1.26 or newer, which builds weed; or leave the S3 tests out with ALLOW_SKIP_S3=1";

/** True when the tests that need an S3 server are to be left out: only when ALLOW_SKIP_S3 is 1. */
export function isS3Skipped(env: NodeJS.ProcessEnv = process.env): boolean {
  return env.ALLOW_SKIP_S3 === "1";
}

/** The S3 server that tests use, or undefined when set-up has not provided one. Builds nothing. */
export function findS3Server(env: NodeJS.ProcessEnv = process.env): S3Server | undefined {
  const { S3_TEST_ENDPOINT: endpoint, S3_TEST_ACCESS_KEY: accessKey, S3_TEST_SECRET_KEY: secretKey } = env;
  if (endpoint) {
    if (accessKey && secretKey) {
      return { kind: "endpoint", endpoint, accessKey, secretKey, why: "S3_TEST_ENDPOINT is set" };
    }
    throw new ProvisionError("S3_TEST_ENDPOINT is set, so S3_TEST_ACCESS_KEY and S3_TEST_SECRET_KEY must be, too");
  }
  for (const product of ["minio", "weed"] as const) {
    const file = which(product, env);
    if (file) return { kind: "binary", product, path: file, why: "found on PATH" };
  }
  const folder = findEntry(weedKey());
  if (!folder) return undefined;
  return { kind: "binary", product: "weed", path: path.join(folder, "weed"), why: `built by Go from ${weedVersion()}` };
}

/** Makes `findS3Server` succeed. @throws ProvisionError that names the ways to get one. */
export async function ensureS3Server(say: (line: string) => void): Promise<Part> {
  if (isS3Skipped()) {
    return { name: "s3 server", detail: "WARNING: none, ALLOW_SKIP_S3=1 leaves the S3 tests out", worked: false };
  }
  const found = findS3Server();
  if (found) return part(found, false);
  if (!which("go")) throw new ProvisionError(`no S3 server for the tests; ${WAYS}`);
  say("building SeaweedFS' weed with Go, once: about 5 minutes on 2 cores, 2 GB of Go modules");
  await ensureEntry(weedKey(), buildWeed).catch((error) => {
    if (!(error instanceof ProvisionError)) throw error;
    throw new ProvisionError(`${error.message}\n${WAYS}`);
  });
  const built = findS3Server();
  if (!built) throw new ProvisionError(`the weed that Go built is not in the cache; ${WAYS}`);
  return part(built, true);
}

/** go.mod and go.sum pin every module; `-mod=readonly` makes the build fail where they would have to change. */
async function buildWeed(folder: string): Promise<void> {
  const env = { ...process.env, CGO_ENABLED: "0", GOFLAGS: "-mod=readonly -buildvcs=false", GOWORK: "off" };
  const args = ["build", "-trimpath", "-ldflags=-s -w", "-o", path.join(folder, "weed"), `${MODULE}/weed`];
  await run("go", args, { cwd: WEED_FOLDER, env });
}

function weedKey(): string {
  return `weed-${weedVersion()}-${process.platform}-${process.arch}`;
}

function weedVersion(): string {
  const version = readFileSync(path.join(WEED_FOLDER, "go.mod"), "utf8").match(`${MODULE} (v\\S+)`)?.[1];
  if (!version) throw new ProvisionError(`${WEED_FOLDER}/go.mod does not require ${MODULE}`);
  return version;
}

function part(server: S3Server, worked: boolean): Part {
  const what = server.kind === "endpoint" ? server.endpoint : `${server.product}, ${server.path}`;
  return { name: "s3 server", detail: `${what} (${server.why})`, worked };
}
