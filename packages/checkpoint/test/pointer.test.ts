import assert from "node:assert/strict";
import { test } from "node:test";
import { problem } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import { claimCheckpoint, readCheckpoint } from "../src/index.ts";
import { JOB, keysBelow, testStore, writeBundle } from "./fixture.ts";

async function writeCheckpoint(store: ObjectStore, attempt: number, step: number, kind: "last" | "best" = "last") {
  const key = layout.checkpoint(JOB, attempt, step, kind);
  const { sha256 } = await store.put(key, Buffer.from(`${attempt} ${step} ${kind}`));
  return { key, sha256, step };
}

test("a job that was never claimed has no pointer", async () => {
  await using t = await testStore();
  assert.equal(await readCheckpoint(t.store, JOB), undefined);
});

test("a later attempt takes over the checkpoints, and the earlier one is fenced", async () => {
  await using t = await testStore();
  const first = await claimCheckpoint(t.store, JOB, 1);
  const last = await writeCheckpoint(t.store, 1, 10);
  await first.update({ last });
  const second = await claimCheckpoint(t.store, JOB, 2);
  assert.deepEqual(second.checkpoint, { last });

  const late = await writeCheckpoint(t.store, 1, 20);
  await assert.rejects(first.update({ last: late }), { code: "fenced", retryable: false });
  assert.deepEqual((await readCheckpoint(t.store, JOB))?.checkpoint, { last });
  await assert.rejects(claimCheckpoint(t.store, JOB, 1), { code: "fenced" });
  await assert.rejects(first.announce(await writeBundle(t.store, JOB, 1)), { code: "fenced" });
  assert.equal((await readCheckpoint(t.store, JOB))?.publish, undefined);
});

test("the same attempt begun anew takes over too", async () => {
  await using t = await testStore();
  const first = await claimCheckpoint(t.store, JOB, 1);
  const again = await claimCheckpoint(t.store, JOB, 1);
  const last = await writeCheckpoint(t.store, 1, 10);
  await assert.rejects(first.update({ last }), { code: "fenced" });
  await again.update({ last });
});

test("of many attempts that claim at once the latest ends up with the pointer", async () => {
  await using t = await testStore();
  const claims = await Promise.allSettled(
    Array.from({ length: 8 }, (_, attempt) => claimCheckpoint(t.store, JOB, attempt)),
  );
  const last = await writeCheckpoint(t.store, 7, 1);
  const updates = await Promise.allSettled(
    claims.map(async (claim) => {
      if (claim.status === "rejected") throw claim.reason;
      await claim.value.update({ last });
      return claim.value.attempt;
    }),
  );
  assert.deepEqual(
    updates.flatMap((update) => (update.status === "fulfilled" ? [update.value] : [])),
    [7],
  );
  for (const update of updates) if (update.status === "rejected") assert.equal(update.reason.code, "fenced");
});

test("an update removes what the pointer refers to no more, and nothing of a later attempt", async () => {
  await using t = await testStore();
  const first = await claimCheckpoint(t.store, JOB, 1);
  const best = await writeCheckpoint(t.store, 1, 10, "best");
  await first.update({ last: await writeCheckpoint(t.store, 1, 10), best });
  const last = await writeCheckpoint(t.store, 1, 20);
  const later = await writeCheckpoint(t.store, 2, 20);
  await first.update({ last, best });
  assert.deepEqual(
    await keysBelow(t.store, layout.checkpoints(JOB)),
    [best.key, last.key, later.key, layout.checkpointLatest(JOB)].sort(),
  );
});

test("a swap whose answer was lost and that was sent again is known as done", async () => {
  await using t = await testStore();
  const twice = new Proxy(t.store, {
    get(target, name) {
      if (name !== "swapPointer") return Reflect.get(target, name).bind(target);
      return async (...args: Parameters<ObjectStore["swapPointer"]>) => {
        await target.swapPointer(...args);
        throw problem("object_changed", "the second sending found the first one's pointer");
      };
    },
  });
  const pointer = await claimCheckpoint(twice, JOB, 1);
  const last = await writeCheckpoint(t.store, 1, 10);
  await pointer.update({ last });
  await pointer.update({ last: { ...last, step: 11 } });
  assert.equal((await readCheckpoint(t.store, JOB))?.checkpoint?.last.step, 11);
});
