import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline/promises";
import { after, before, describe, it } from "node:test";
import { guardLeaks, type TempDir, tempDir } from "@cardinal/testing";
import { openStore } from "../src/index.ts";
import { conformance } from "./conformance.ts";
import { code, keysOf } from "./subject.ts";

guardLeaks();

const CHILD = path.join(import.meta.dirname, "directory-child.ts");

function start(root: string, ...args: string[]): ChildProcess {
  return spawn(process.execPath, [CHILD, root, ...args], { stdio: ["ignore", "pipe", "inherit"] });
}

async function succeeded(child: ChildProcess): Promise<string> {
  const lines: string[] = [];
  createInterface(child.stdout!).on("line", (line) => lines.push(line));
  const [exit] = await once(child, "close");
  assert.equal(exit, 0);
  return lines.join("\n");
}

/** Waits until the child says the line, then kills it in the middle of what it does. */
async function killedAt(child: ChildProcess, line: string): Promise<void> {
  for await (const said of createInterface(child.stdout!)) if (said === line) break;
  child.kill("SIGKILL");
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

describe("directory store", () => {
  let folder: TempDir;
  before(async () => {
    folder = await tempDir("store");
  });
  after(async () => {
    await folder[Symbol.asyncDispose]();
  });
  const at = (name: string) => path.join(folder.path, name);
  const open = (name: string) => openStore({ kind: "directory", path: at(name) });

  conformance({ open: () => open("shared"), leftovers: () => fs.readdir(at("shared/tmp")) });

  it("lets one of several processes create an object", async () => {
    const children = [0, 1, 2, 3].map((i) => succeeded(start(at("create"), "create", "300", `${i}`)));
    const won = (await Promise.all(children)).map((line) => JSON.parse(line) as number[]);
    assert.deepEqual(
      won.flat().toSorted((a, b) => a - b),
      Array.from({ length: 300 }, (_, i) => i),
    );
    await using store = await open("create");
    for (const [child, keys] of won.entries()) {
      for (const key of keys) assert.equal(String(await store.read(`raced/${key}`)), `${child}`);
    }
  });

  it("loses no update of several processes", async () => {
    await Promise.all([0, 1, 2, 3].map(() => succeeded(start(at("swap"), "increment", "50"))));
    await using store = await open("swap");
    assert.equal((await store.readPointer("counter"))?.value, 200);
  });

  it("shows nothing of a writer that was killed, and sweeps what it left", async () => {
    await killedAt(start(at("killed"), "endless"), "half");
    assert.equal((await fs.readdir(at("killed/tmp"))).length, 1);
    await using store = await open("killed");
    assert.deepEqual(await fs.readdir(at("killed/tmp")), []);
    assert.deepEqual(await keysOf(store, ""), []);
    await store.put("endless", Buffer.from("next"), { ifAbsent: true });
  });

  it("keeps the temp files of living writers when it is opened", async () => {
    const child = start(at("living"), "endless");
    for await (const said of createInterface(child.stdout!)) if (said === "half") break;
    await using _store = await open("living");
    assert.equal((await fs.readdir(at("living/tmp"))).length, 1);
    child.kill("SIGKILL");
    await once(child, "exit");
  });

  it("goes on after swappers that were killed at any point", async () => {
    await using store = await open("swap-killed");
    for (let i = 0; i < 5; i++) {
      const before = ((await store.readPointer("counter"))?.value as number | undefined) ?? 0;
      await killedAt(start(at("swap-killed"), "increment", "1000000"), "40");
      const found = await store.readPointer("counter");
      assert.ok((found?.value as number) >= before + 40);
      await store.swapPointer("counter", found?.etag, found?.value);
      assert.equal(JSON.parse(String(await store.read("counter"))), found?.value);
    }
  });

  it("finds a committed swap whose writer died before it was published, or published much too late", async () => {
    await using store = await open("unpublished");
    const file = at("unpublished/objects/p");
    const first = await store.swapPointer("p", undefined, 1);
    await fs.unlink(file);
    assert.deepEqual(await store.readPointer("p"), { value: 1, etag: first });
    assert.equal(String(await store.read("p")).trim(), "1");
    await fs.link(file, at("unpublished/late"));
    const third = await store.swapPointer("p", await store.swapPointer("p", first, 2), 3);
    await fs.rename(at("unpublished/late"), file);
    await assert.rejects(store.swapPointer("p", first, 9), code("object_changed"));
    assert.equal(String(await store.read("p")).trim(), "3");
    assert.deepEqual(await store.readPointer("p"), { value: 3, etag: third });
  });

  it("finds everything again when it is opened again", async () => {
    {
      await using store = await open("again");
      await store.put("a/b", Buffer.from("1"), { deferSync: true });
      await store.swapPointer("a", undefined, 2);
    }
    await using store = await open("again");
    assert.deepEqual(await keysOf(store, ""), ["a", "a/b"]);
    assert.equal((await store.readPointer("a"))?.value, 2);
  });

  it("tells a full disk", async (t) => {
    const mount = (then: string) =>
      spawnSync("unshare", [
        "-rm",
        "sh",
        "-ec",
        `mount -t tmpfs -o size=1m none "$1"; ${then}`,
        "sh",
        folder.path,
        process.execPath,
        CHILD,
      ]);
    const works = mount("true");
    if (works.status !== 0)
      return t.skip(`needs a mount in a user name space: ${works.error?.message ?? works.stderr}`);
    const { status, stdout, stderr } = mount('"$2" "$3" "$1/store" fill');
    assert.equal(status, 0, String(stderr));
    assert.deepEqual(JSON.parse(String(stdout)), { code: "store_full", temp: 0, objects: ["small"] });
  });

  it("tells a folder that cannot be made", async () => {
    await fs.writeFile(at("file"), "");
    await assert.rejects(open("file/store"), code("store_misconfigured"));
  });
});
