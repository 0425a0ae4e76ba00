/**
 * Programs out of Debian packages (and Ubuntu's), unpacked into the cache: no root is needed, nothing is installed
 * and no package script starts a daemon on a well-known port.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import { ProvisionError, run, which } from "./run.ts";

/** Key of a package's cache entry, such as `redis-server-debian-12-x64`; undefined where there is no apt-get. */
export function debianKey(name: string): string | undefined {
  const release = debianRelease();
  return release && `${name}-${release}`;
}

/** The release that a package's libraries fit. */
function debianRelease(): string | undefined {
  if (!which("apt-get") || !which("dpkg-deb")) return undefined;
  const lines = readFileSync("/etc/os-release", "utf8").split("\n");
  const value = (name: string) => lines.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1);
  return `${value("ID")}-${value("VERSION_ID")}-${process.arch}`.replaceAll('"', "");
}

export interface UnpackOptions {
  /** Also the libraries that the package depends on and the machine does not have. */
  withDependencies: boolean;
  /** Also its fonts (`usr/share/fonts`). */
  fonts?: boolean;
}

/** Downloads `name` by apt-get and unpacks its programs and libraries (`usr/bin`, `usr/lib`) into `folder`. */
export async function unpackDebian(name: string, folder: string, options: UnpackOptions): Promise<void> {
  const downloads = path.join(folder, "download");
  mkdirSync(path.join(downloads, "partial"), { recursive: true });
  const settings = [`Dir::Cache::archives=${downloads}`, "Debug::NoLocking=1"];
  if (process.getuid?.() === 0) settings.push("APT::Sandbox::User=root");
  const asked = options.withDependencies
    ? ["install", "--download-only", "--no-install-recommends", "--yes", name]
    : ["download", name];
  const args = ["--quiet", ...settings.flatMap((setting) => ["-o", setting]), ...asked];
  await run("apt-get", args, { cwd: downloads }).catch(async (error) => {
    if (process.getuid?.() !== 0) throw error;
    await updateLists(); // a fresh image has none
    await run("apt-get", args, { cwd: downloads });
  });
  const packages = readdirSync(downloads).filter((file) => file.endsWith(".deb"));
  if (packages.length === 0)
    throw new ProvisionError(`apt-get downloaded nothing for ${name}: is it installed already?`);
  for (const file of packages) await run("dpkg-deb", ["--extract", path.join(downloads, file), folder]);
  const share = path.join(folder, "usr/share");
  const shared = (existsSync(share) ? readdirSync(share) : []).filter((name) => name !== "fonts" || !options.fonts);
  const unused = ["download", "etc", "var", ...shared.map((name) => `usr/share/${name}`)];
  await Promise.all(unused.map((part) => rm(path.join(folder, part), REMOVE)));
}

let update: Promise<string> | undefined;

/** Once a process: two updates at the same time would fail on apt's lock. */
function updateLists(): Promise<string> {
  update ??= run("apt-get", ["--quiet", "update"]);
  return update;
}

const REMOVE = { recursive: true, force: true };

/** The library folders of an unpacked package, for LD_LIBRARY_PATH, relative to `folder`. */
export function libraryFolders(folder: string): string[] {
  const parents = ["usr/lib", "lib"].filter((parent) => existsSync(path.join(folder, parent)));
  return parents.flatMap((parent) => {
    const names = readdirSync(path.join(folder, parent), { withFileTypes: true });
    return names.filter((entry) => entry.name.includes("-linux-gnu")).map((entry) => `${parent}/${entry.name}`);
  });
}

/**
 * A script that starts an unpacked program with its unpacked libraries: `program` and `folders` lie beside it, further
 * `settings` are lines of shell that may use `$here`. `exec` keeps the process id, so signals reach the program itself.
 */
export function wrapper(program: string, folders: readonly string[], settings: readonly string[] = []): string {
  const libraries = folders.map((folder) => `$here/${folder}`).join(":");
  return [
    "#!/bin/sh",
    'here=$(dirname "$(realpath "$0")")',
    `export LD_LIBRARY_PATH="${libraries}"`,
    ...settings,
    `exec "$here/${program}" "$@"`,
    "",
  ].join("\n");
}
