import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { test } from "node:test";
import type { CardinalClient } from "@cardinal/client";
import { guardLeaks, tempDir, waitFor } from "@cardinal/testing";
import { startEmbedded } from "../src/embedded/system.ts";
import { pidOf, startSystem } from "./embedded.ts";
import { walkWholePath } from "./whole-path.ts";

guardLeaks();

test("the directory store: ingest, train, predict, all answers; a second start finds it all again", async () => {
  await using folder = await tempDir("whole-path");
  const before = await startSystem({ dataDir: folder.path });
  let seen: unknown;
  try {
    assert.equal(before.system.folder.keyIsNew, true);
    assert.equal((await stat(before.system.folder.apiKeyFile)).mode & 0o777, 0o600);
    await walkWholePath(before.client, before.system);
    seen = await everything(before.client);
    const second = startEmbedded({ ...options(folder.path), onNotice: () => {} });
    await assert.rejects(second, /is in use by process/);
  } finally {
    await before.system.stop();
  }
  assert.deepEqual(before.notices, []);
  const after = await startSystem({ dataDir: folder.path });
  try {
    assert.equal(after.system.folder.keyIsNew, false);
    assert.deepEqual(await everything(after.client), seen);
  } finally {
    await after.system.stop();
  }
});

test("a process that dies is started again, and the user is told; the API keeps its address", async () => {
  await using up = await startSystem({ predictWorkers: 1 });
  process.kill(pidOf(up.system, "api"), "SIGKILL");
  await waitFor(() => up.notices.length === 1, { what: "the notice" });
  await waitFor(
    () =>
      up.client.jobs().then(
        () => true,
        () => false,
      ),
    { what: "the API", timeoutMs: 30_000 },
  );
  const worker = up.system.processes.find(({ name }) => name === "predict-worker-1")!;
  const pid = worker.pid()!;
  process.kill(pid, "SIGKILL");
  const isBack = async () => {
    const workers = await up.client.workers();
    return workers.some((view) => view.kind === "predict" && view.pid !== pid && view.pid === worker.pid());
  };
  await waitFor(isBack, { what: "the worker to be back", timeoutMs: 30_000 });
  assert.match(up.notices[0]!, /api ended with SIGKILL and is started again/);
  assert.match(up.notices[1]!, /predict-worker-1 ended with SIGKILL and is started again/);
});

const options = (dataDir: string) => ({ dataDir, fresh: false, host: "127.0.0.1", port: 0, predictWorkers: 1 });

async function everything(client: CardinalClient) {
  const { jobs } = await client.jobs({ limit: 200 });
  return { jobs, datasets: await client.datasets(), models: await client.models(), aliases: await client.aliases() };
}
