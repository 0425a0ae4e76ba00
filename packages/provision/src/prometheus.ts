/** promtool, which checks metrics, rules and configuration in tests; and the Prometheus server of the same package. */
import path from "node:path";
import { ensureEntry, findEntry } from "./cache.ts";
import { debianKey, unpackDebian } from "./debian.ts";
import type { Part } from "./part.ts";
import { ProvisionError, which } from "./run.ts";

/** The full path of `promtool` or `prometheus`, on PATH or in the cache; undefined when set-up has provided none. */
export function findPrometheus(program: "promtool" | "prometheus"): string | undefined {
  const onPath = which(program);
  if (onPath) return onPath;
  const key = debianKey("prometheus");
  const folder = key && findEntry(key);
  return folder && path.join(folder, "usr/bin", program);
}

/** Makes `findPrometheus("promtool")` succeed. @throws ProvisionError that names the ways to get it. */
export async function ensurePromtool(): Promise<Part> {
  const onPath = which("promtool");
  if (onPath) return { name: "promtool", detail: `${onPath} on PATH`, worked: false };
  const key = debianKey("prometheus");
  if (!key) {
    throw new ProvisionError(
      "no promtool; ways to get it: put it on PATH, or have apt-get (Debian's package prometheus)",
    );
  }
  const { folder, built } = await ensureEntry(key, (target) =>
    unpackDebian("prometheus", target, { withDependencies: false }),
  );
  const file = path.join(folder, "usr/bin/promtool");
  return { name: "promtool", detail: `${file} (Debian's package, unpacked: no promtool on PATH)`, worked: built };
}
