/**
 * libtensorflow and the tfjs-node addon that is compiled against it.
 *
 * `@tensorflow/tfjs-node` downloads libtensorflow 2.9.1 and a prebuilt addon in its install script; that download
 * cannot be had everywhere and is years old. On Linux the library comes from TensorFlow's PyPI wheel instead (its
 * libtensorflow_cc.so.2 exports the whole C API) and the addon is compiled from the npm package's own sources: about
 * 20 s, once a machine. Elsewhere the package's stock install script runs.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { cacheRoot, dropEntry, ensureEntry } from "./cache.ts";
import type { Part } from "./part.ts";
import { ProvisionError, run } from "./run.ts";
import { addonFolder, compileAddon, linkAddon, proveAddon } from "./tensorflow-addon.ts";
import { unpackWheel, type Wheel } from "./wheel.ts";

const TENSORFLOW = "2.21.0";

/** `tensorflow-cpu` is `tensorflow` without CUDA stubs; PyPI has it for x86-64 only. */
const WHEELS: Partial<Record<string, Wheel>> = {
  "linux-x64": {
    project: "tensorflow-cpu",
    version: TENSORFLOW,
    platform: "manylinux_2_27_x86_64",
    sha256: "dcc8afd32930e42d5296b6ee19078b773706830af4ea97fbe503b9f5e0f820cb",
  },
  "linux-arm64": {
    project: "tensorflow",
    version: TENSORFLOW,
    platform: "manylinux_2_27_aarch64",
    sha256: "b07d15737406533898e36c7ef7944b1be18e9028dc521b9229952c537bbc5552",
  },
};

/** The two libraries and the few headers that the addon's sources reach, of 850 MB and 13,000 files. */
const MEMBERS = [
  "tensorflow/libtensorflow_cc.so.2",
  "tensorflow/libtensorflow_framework.so.2",
  "tensorflow/include/tensorflow/c/",
  "tensorflow/include/tensorflow/core/platform/ctstring",
  "tensorflow/include/tsl/platform/ctstring",
  "tensorflow/include/xla/tsl/c/",
];

/**
 * Makes `import "@tensorflow/tfjs-node"` work in the tree at `root`, and proves it by a matrix product in a child
 * process unless this addon has been proven on this version of Node before.
 * @throws ProvisionError naming what is missing: a pinned wheel for the platform, pip, a C++ compiler.
 */
export async function ensureTensorflow(root: string): Promise<Part> {
  if (process.platform !== "linux") return ensureStock(root);
  const platform = `${process.platform}-${process.arch}`;
  const wheel = WHEELS[platform];
  if (!wheel) {
    throw new ProvisionError(
      `no TensorFlow wheel is pinned for ${platform} (there are ${Object.keys(WHEELS).join(", ")}); ` +
        "ways: use one of these, or add the wheel's hash to packages/provision/src/tensorflow.ts",
    );
  }
  const version = tfjsVersion(root);
  const libraries = await ensureEntry(`tensorflow-${TENSORFLOW}-${platform}`, (folder) =>
    unpackWheel(wheel, MEMBERS, folder),
  );
  const key = `tfjs-node-${version}-tensorflow-${TENSORFLOW}-${platform}`;
  const addon = await ensureEntry(key, (folder) => compileAddon(root, libraries.folder, folder));
  linkAddon(root, addon.folder);
  const proven = await proveOnce(root, addon.folder).catch(async (error) => {
    await dropEntry(key); // the next set-up compiles it anew
    const advice = `if ${cacheRoot()} may be damaged, delete it and run set-up again`;
    throw new ProvisionError(`the compiled addon does not work (${advice}): ${error.message}`);
  });
  return {
    name: "tensorflow",
    detail: `libtensorflow ${TENSORFLOW} from the PyPI wheel ${wheel.project}, addon compiled from tfjs-node ${version}`,
    worked: libraries.built || addon.built || proven,
  };
}

/** macOS and Windows: the package's own install script, into node_modules; needs its download host. */
async function ensureStock(root: string): Promise<Part> {
  const folder = addonFolder(root);
  const detail = `libtensorflow by the install script of tfjs-node ${tfjsVersion(root)} (${process.platform})`;
  if (!existsSync(path.join(folder, "tfjs_binding.node"))) {
    await run("npm", ["rebuild", "@tensorflow/tfjs-node", "--ignore-scripts=false"], {
      cwd: root,
      shell: process.platform === "win32",
    });
  }
  return { name: "tensorflow", detail, worked: await proveOnce(root, folder) };
}

/** The proof is remembered beside the addon, so a set-up that was killed before it ended proves again. */
async function proveOnce(root: string, folder: string): Promise<boolean> {
  const marker = path.join(folder, `proven-node-${process.versions.node}`);
  if (existsSync(marker)) return false;
  writeFileSync(marker, await proveAddon(root));
  return true;
}

function tfjsVersion(root: string): string {
  const manifest = path.join(root, "node_modules/@tensorflow/tfjs-node/package.json");
  if (!existsSync(manifest)) throw new ProvisionError("@tensorflow/tfjs-node is not installed; run npm ci first");
  return JSON.parse(readFileSync(manifest, "utf8")).version;
}
