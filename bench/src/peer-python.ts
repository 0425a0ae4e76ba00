/** The Python that the peers run in. */
import path from "node:path";
import { ensureEntry, findPython, ProvisionError, run } from "@cardinal/provision";

/** What people have who come from PyTorch. pip takes the build (with CUDA or for CPUs alone) that its index gives. */
const PACKAGES = ["torch==2.15.0", "torchvision==0.29.2", "numpy==2.4.6", "pillow==13.0.0", "safetensors==0.8.0"];
const TORCH = "torch-2.15.0-torchvision-0.29.2";

/**
 * `PEER_PYTHON`, else the Python of a virtual environment in Cardinal's cache, made with pip at the first call: some
 * gigabytes and minutes. Throws ProvisionError when it cannot be made.
 */
export async function peerPython(say: (line: string) => void, env = process.env): Promise<string> {
  if (env.PEER_PYTHON) {
    say(`peer: ${env.PEER_PYTHON} (PEER_PYTHON)`);
    return env.PEER_PYTHON;
  }
  const python = await findPython();
  if (!python)
    throw new ProvisionError("no Python 3 with pip on PATH for the peer; or set PEER_PYTHON to one with torch");
  const version = (await run(python, ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"])).trim();
  const key = `peer-${TORCH}-python-${version}-${process.platform}-${process.arch}`;
  const { folder, built } = await ensureEntry(key, (target) => makeEnvironment(python, target, say));
  say(`peer: virtual environment ${folder}${built ? ", made now" : ""}`);
  return interpreter(folder);
}

async function makeEnvironment(python: string, folder: string, say: (line: string) => void): Promise<void> {
  say(`peer: making a virtual environment, once, with ${PACKAGES.join(" ")}; some minutes`);
  // Without pip: Debian's venv has none to give. The interpreter finds its environment by its own place, so the
  // folder may be moved when it is complete.
  await run(python, ["-m", "venv", "--without-pip", folder]);
  const quiet = ["--quiet", "--no-input", "--no-cache-dir", "--disable-pip-version-check"];
  await run(python, ["-m", "pip", "--python", interpreter(folder), "install", ...quiet, ...PACKAGES]);
}

function interpreter(folder: string): string {
  return process.platform === "win32" ? path.join(folder, "Scripts/python.exe") : path.join(folder, "bin/python");
}
