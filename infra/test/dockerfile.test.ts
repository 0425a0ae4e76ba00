/** The Dockerfile against the tree: it cannot be built where the tests run, as they have no Docker engine. */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import dockerignore from "@balena/dockerignore";
import { composeVariables, ROOT, readCompose } from "./compose-file.ts";
import { chain, lastOf, stages } from "./dockerfile.ts";

const compose = readCompose(Object.fromEntries(composeVariables().required.map((name) => [name, "x"])));
const targets = Object.values(compose.services).flatMap(({ build }) => (build ? [build.target] : []));
const ignored = dockerignore.default().add(readFileSync(path.join(ROOT, ".dockerignore"), "utf8"));

/** Files of the tree that get into the build context, without the folders that are large and never do. */
const context = globSync(["**", "**/.*", "**/.*/**"], {
  cwd: ROOT,
  exclude: (file) => [".git", "node_modules"].includes(path.basename(file)),
}).filter((file) => statSync(path.join(ROOT, file)).isFile() && !ignored.ignores(file));

test("compose builds three targets of this file, and each is a stage", () => {
  assert.deepEqual(targets, ["api", "train-worker", "predict-worker"]);
  for (const target of targets) assert.ok(stages.has(target), target);
  for (const { build } of Object.values(compose.services)) {
    if (build) assert.ok(existsSync(path.join(ROOT, build.context, build.dockerfile)));
  }
});

test("what is copied exists: in the build context, or in a stage above", () => {
  const seen = new Set<string>();
  for (const stage of stages.values()) {
    assert.ok(seen.has(stage.from) || stage.from === `\${NODE_IMAGE}`, `${stage.name} is from ${stage.from}`);
    for (const copy of stage.copies) {
      if (copy.stage !== undefined) assert.ok(seen.has(copy.stage), `${stage.name} copies from ${copy.stage}`);
      else for (const source of copy.sources) assert.ok(inContext(source), `${stage.name} copies ${source}`);
    }
    seen.add(stage.name);
  }
});

function inContext(source: string): boolean {
  return source === "." || context.some((file) => file === source || file.startsWith(`${source}/`));
}

test("the build context has sources and manifests, and no tests, secrets or data", () => {
  for (const file of ["package-lock.json", ".npmrc", "apps/api/src/main.ts", "packages/queue/package.json"]) {
    assert.ok(context.includes(file), file);
  }
  assert.deepEqual(
    context.filter((file) => /(^|\/)(test|\.cardinal|\.env[^/]*|\.git)(\/|$)/.test(file)),
    [],
  );
  for (const secret of [".env", "apps/api/.env.local", ".cardinal/api-key"]) assert.ok(ignored.ignores(secret), secret);
});

test("every workspace's manifest gets into the images, or npm ci refuses the lock file", () => {
  const { workspaces } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8"));
  const manifests = globSync(
    workspaces.map((pattern: string) => `${pattern}/package.json`),
    { cwd: ROOT },
  );
  assert.ok(manifests.length > 15);
  for (const manifest of manifests) assert.ok(context.includes(manifest), manifest);
});

for (const target of targets) {
  test(`${target} runs a file that it holds, with node itself, not as root, and tells its health`, () => {
    const [program, file, ...rest] = lastOf(target, "command") ?? [];
    assert.equal(program, "node");
    assert.deepEqual(rest, []);
    assert.ok(file && existsSync(path.join(ROOT, file)), file);
    const copied = chain(target).flatMap(({ copies }) => copies.filter((copy) => copy.stage === undefined));
    assert.ok(copied.some(({ sources }) => sources.some((source) => file.startsWith(`${source}/`))));
    assert.equal(lastOf(target, "user"), "node");
    assert.equal(lastOf(target, "healthcheck")?.[0], "node");
  });

  test(`${target} holds every package of the workspace that it imports`, () => {
    const manifest = (name: string) => JSON.parse(readFileSync(path.join(ROOT, name, "package.json"), "utf8"));
    const needed = Object.keys(manifest(`apps/${target}`).dependencies).filter((name) => name.startsWith("@cardinal/"));
    assert.ok(needed.length > 0);
    for (const name of needed) assert.ok(inContext(`packages/${name.slice("@cardinal/".length)}/src`), name);
  });
}
