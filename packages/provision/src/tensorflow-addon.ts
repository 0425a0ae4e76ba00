/** The native half of tfjs-node: compiled into the cache, linked into node_modules, proven in a child process. */
import { lstatSync, mkdirSync, readdirSync, readlinkSync, renameSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { ProvisionError, run, which } from "./run.ts";

/** tfjs-node's newest Node-API level: its loader looks for lib/napi-v8 on every Node since 15.12. */
const NODE_API = 8;
const ADDON = "tfjs_binding.node";

/** Where tfjs-node's loader looks for its addon. */
export function addonFolder(root: string): string {
  return path.join(root, `node_modules/@tensorflow/tfjs-node/lib/napi-v${NODE_API}`);
}

/**
 * Compiles the package's `binding/*.cc` into `folder`, 11 s on a 2026 Xeon core.
 * The rpath is relative to the addon (both are entries of one cache), so the cache can be moved as a whole.
 */
export async function compileAddon(root: string, libraries: string, folder: string): Promise<void> {
  const compiler = process.env.CXX ?? ["g++", "c++", "clang++"].find((name) => which(name));
  if (!compiler) throw new ProvisionError("no C++ compiler on PATH (Debian: apt-get install g++), and CXX is not set");
  const source = path.join(root, "node_modules/@tensorflow/tfjs-node");
  const bindings = readdirSync(path.join(source, "binding")).filter((name) => name.endsWith(".cc"));
  const headers: string = createRequire(import.meta.url)("node-api-headers").include_dir;
  const tensorflow = path.join(libraries, "tensorflow");
  await run(compiler, [
    ...["-O2", "-std=c++17", "-fPIC", "-shared", "-w", `-DNAPI_VERSION=${NODE_API}`],
    ...["-I", source, "-I", path.join(tensorflow, "include"), "-I", headers],
    ...bindings.map((name) => path.join(source, "binding", name)),
    ...["-L", tensorflow, "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"],
    `-Wl,-rpath,$ORIGIN/../${path.basename(libraries)}/tensorflow`,
    ...["-o", path.join(folder, ADDON)],
  ]);
}

/** Points node_modules at the addon in the cache; `npm ci` throws this link away, so every set-up looks. */
export function linkAddon(root: string, folder: string): void {
  const link = path.join(addonFolder(root), ADDON);
  const target = path.join(folder, ADDON);
  const current = lstatSync(link, { throwIfNoEntry: false });
  if (current?.isSymbolicLink() && readlinkSync(link) === target) return;
  mkdirSync(path.dirname(link), { recursive: true });
  const temp = `${link}.${process.pid}`;
  symlinkSync(target, temp);
  renameSync(temp, link);
}

/**
 * Multiplies two matrices on the native backend in a child process (a broken library may end the process).
 * @returns the version of libtensorflow that answered.
 */
export async function proveAddon(root: string): Promise<string> {
  const env = { ...process.env, TF_CPP_MIN_LOG_LEVEL: "2" };
  return (await run(process.execPath, ["-e", PROOF], { cwd: root, env })).trim();
}

/** tfjs-node calls util.isNullOrUndefined, which Node 23 removed. */
const PROOF = `
const util = require("node:util");
util.isNullOrUndefined ??= (value) => value === null || value === undefined;
const tf = require("@tensorflow/tfjs-node");
const product = Array.from(tf.matMul([[1, 2], [3, 4]], [[5], [6]]).dataSync());
if (tf.getBackend() !== "tensorflow" || product.join() !== "17,39") {
  throw new Error("matMul on backend " + tf.getBackend() + " gave " + product + ", not 17,39");
}
console.log(tf.backend().binding.TF_Version);
`;
