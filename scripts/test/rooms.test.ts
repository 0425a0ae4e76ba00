/** Arrows point down only: which room may depend on which. The linter sees to it that imports are declared. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

const ROOT = path.join(import.meta.dirname, "../..");

/** A room may depend on rooms of layers below its own, and on the named rooms of its own layer. */
const LAYERS: Record<string, string[]>[] = [
  { contracts: [], provision: [], samples: [], resnext: [] },
  { service: [], storage: [], client: [], queue: [] },
  { access: [], checkpoint: [], dataset: [], features: [], report: [], worker: [] },
  { inference: [] },
  { training: [] },
  { api: [], "train-worker": [], "predict-worker": [], cli: [] },
];

/** Whatever their layers say. */
const NEVER: Record<string, string[]> = {
  training: ["queue", "service", "worker", "client"],
  inference: ["queue", "service", "worker", "client", "resnext"],
  checkpoint: ["queue", "service", "client", "resnext"],
  report: ["queue", "service", "client", "resnext"],
  dataset: ["queue", "service", "client", "resnext"],
  features: ["queue", "service", "client", "resnext"],
  queue: ["resnext", "storage"],
  api: ["resnext", "training", "inference", "worker"],
  cli: ["queue", "storage", "training", "inference"],
};

const manifests = globSync("{packages,apps}/*/package.json", { cwd: ROOT }).map((file) => {
  const content = JSON.parse(readFileSync(path.join(ROOT, file), "utf8"));
  const rooms = Object.keys(content.dependencies ?? {}).filter((name) => name.startsWith("@cardinal/"));
  return { room: path.basename(path.dirname(file)), uses: rooms.map((name) => name.slice("@cardinal/".length)) };
});

const layerOf = (room: string): number => LAYERS.findIndex((layer) => room in layer);

test("rooms depend only on rooms below them", () => {
  for (const { room, uses } of manifests) {
    if (room === "testing") continue;
    assert.ok(layerOf(room) >= 0, `${room} has no layer`);
    for (const used of uses) {
      assert.notEqual(used, "testing", `${room} must not depend on testing`);
      const isBelow = layerOf(used) < layerOf(room) || LAYERS[layerOf(room)]![room]!.includes(used);
      assert.ok(isBelow && !NEVER[room]?.includes(used), `${room} must not depend on ${used}`);
    }
  }
});

test("only packages/queue imports bullmq, only packages/storage the S3 client", () => {
  const importers = (library: string) =>
    globSync("{packages,apps}/*/src/**/*.ts", { cwd: ROOT })
      .filter((file) => readFileSync(path.join(ROOT, file), "utf8").includes(`from "${library}"`))
      .map((file) => file.split("/")[1]!)
      .filter((room) => room !== "testing");
  assert.deepEqual([...new Set(importers("bullmq"))], ["queue"]);
  assert.deepEqual([...new Set(importers("minio"))], ["storage"]);
});

test("no file is longer than 400 lines", () => {
  for (const file of globSync("{packages,apps,scripts,bench,infra}/**/*.ts", {
    cwd: ROOT,
    exclude: ["**/node_modules/**"],
  })) {
    const lines = readFileSync(path.join(ROOT, file), "utf8").split("\n").length;
    assert.ok(lines <= 400, `${file} has ${lines} lines`);
  }
});

test("the lock file has no download address", () => {
  const lock = JSON.parse(readFileSync(path.join(ROOT, "package-lock.json"), "utf8")) as {
    packages: Record<string, { resolved?: string; link?: boolean }>;
  };
  for (const [name, entry] of Object.entries(lock.packages)) {
    if (!entry.link) assert.equal(entry.resolved, undefined, name);
  }
});
