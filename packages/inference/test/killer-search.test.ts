import assert from "node:assert/strict";
import { test } from "node:test";
import { problem } from "@cardinal/contracts";
import {
  type KillerSearch,
  killerSearchSchema,
  MAX_DEATHS,
  predictAround,
  type ShardVerbs,
} from "../src/killer-search.ts";
import type { Range } from "../src/part.ts";

/** A shard whose process dies with certain images, and what was done to it. */
class Shard {
  deaths = 0;
  predicted = 0;
  saved: KillerSearch | undefined;
  joined: KillerSearch | undefined;
  /** Workers lost so far, as the queue counts them. */
  lostWorkers = 0;
  readonly images: number;
  readonly #kills: (at: number) => boolean;
  /** The worker dies with its process. */
  readonly #takesWorker: boolean;

  constructor(images: number, kills: (at: number) => boolean, takesWorker = false) {
    this.images = images;
    this.#kills = kills;
    this.#takesWorker = takesWorker;
  }

  verbs(): ShardVerbs {
    return {
      images: this.images,
      saved: this.saved,
      lostWorkers: this.lostWorkers,
      predict: async (range: Range = { first: 0, count: this.images }) => {
        for (let at = range.first; at < range.first + range.count; at++) {
          this.predicted++;
          if (!this.#kills(at)) continue;
          this.deaths++;
          if (this.#takesWorker) throw new WorkerDied();
          throw problem("worker_died", "compute process ended with SIGSEGV");
        }
      },
      save: async (search) => {
        this.saved = killerSearchSchema.parse(JSON.parse(JSON.stringify(search)));
      },
      join: async (search) => {
        this.joined = search;
      },
    };
  }

  /** Runs until it ends, in as many workers as it takes. */
  async run(): Promise<void> {
    for (;;) {
      try {
        await predictAround(this.verbs());
        return;
      } catch (error) {
        if (!(error instanceof WorkerDied)) throw error;
        this.lostWorkers++;
      }
    }
  }
}

class WorkerDied extends Error {}

/** done and killers of a joined search cover every input once. */
function assertCovers(shard: Shard): void {
  const { done, killers } = shard.joined!;
  const seen = [...done.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i))];
  seen.push(...killers.map(({ at }) => at));
  assert.deepEqual(
    seen.sort((a, b) => a - b),
    Array.from({ length: shard.images }, (_, at) => at),
  );
}

test("a shard without a killer is predicted once, and nothing is saved", async () => {
  const shard = new Shard(256, () => false);
  await shard.run();
  assert.deepEqual([shard.predicted, shard.saved, shard.joined], [256, undefined, undefined]);
});

test("wherever a killer is, it is found at the cost of log2 deaths and about twice the images", async () => {
  for (const at of [0, 1, 100, 127, 128, 254, 255]) {
    const shard = new Shard(256, (image) => image === at);
    await shard.run();
    assert.deepEqual(
      shard.joined!.killers.map((killer) => killer.at),
      [at],
    );
    assertCovers(shard);
    assert.ok(shard.deaths <= 10, `${shard.deaths} deaths`);
    assert.ok(shard.predicted <= 3 * 256, `${shard.predicted} predictions`);
  }
});

test("several killers are found, next to each other and far apart; one image alone, too", async () => {
  for (const killers of [
    [7, 8],
    [0, 100, 255],
    [3, 90, 170, 250],
  ]) {
    const shard = new Shard(256, (image) => killers.includes(image));
    await shard.run();
    assert.deepEqual(
      shard.joined!.killers.map((killer) => killer.at),
      killers,
    );
    assertCovers(shard);
  }
  const single = new Shard(1, () => true);
  await single.run();
  assert.equal(single.joined!.killers.length, 1);
});

test("a death by chance makes no killer", async () => {
  let chances = 1;
  const shard = new Shard(64, (at) => at === 9 && chances-- > 0);
  await shard.run();
  assert.deepEqual(shard.joined!.killers, []);
  assertCovers(shard);
});

test("a worker that dies with its process counts: the next one goes on with what was saved", async () => {
  const shard = new Shard(256, (at) => at === 77, true);
  await shard.run();
  assert.deepEqual(
    shard.joined!.killers.map((killer) => killer.at),
    [77],
  );
  assertCovers(shard);
  assert.ok(shard.lostWorkers <= 10, `${shard.lostWorkers} workers died`);
});

test("a worker that dies in between for another reason loses no range that is done", async () => {
  const shard = new Shard(64, (at) => at === 40);
  const verbs = shard.verbs();
  let saves = 0;
  const save = async (search: KillerSearch) => {
    await verbs.save(search);
    if (++saves === 5) throw new Error("the worker is gone");
  };
  await assert.rejects(predictAround({ ...verbs, save }), /the worker is gone/);
  const before = shard.saved!.done;
  assert.ok(before.length > 0);
  await shard.run();
  assertCovers(shard);
  for (const range of before) assert.ok(shard.joined!.done.some(({ first }) => first === range.first));
});

test("what was joined is not begun again", async () => {
  const shard = new Shard(16, (at) => at === 3);
  await shard.run();
  assert.equal(shard.saved!.joined, true);
  const { predicted } = shard;
  shard.joined = undefined;
  shard.lostWorkers = 1;
  await shard.run();
  assert.deepEqual([shard.predicted, shard.joined], [predicted, undefined]);
});

test("a shard that kills with most of its images fails for good, within bounds", async () => {
  const shard = new Shard(256, () => true);
  await assert.rejects(shard.run(), { code: "job_lost", retryable: false });
  assert.equal(shard.deaths, MAX_DEATHS + 1);
});

test("a model that kills the process when it is loaded is no image's fault", async () => {
  const shard = new Shard(256, () => true);
  const verbs = shard.verbs();
  let deaths = 0;
  const predict = async () => {
    deaths++;
    throw problem("worker_died", "compute process ended with SIGKILL");
  };
  // Each attempt of the shard begins where the last one ended, and costs two deaths.
  for (const attempt of [1, 2, 3]) {
    const again = { ...verbs, saved: shard.saved, predict };
    await assert.rejects(predictAround(again), { code: "worker_died", retryable: true });
    assert.equal(deaths, 2 * attempt);
  }
  assert.equal(shard.joined, undefined);
  const healed = new Shard(256, () => false);
  healed.saved = shard.saved;
  await healed.run();
  assertCovers(healed);
  assert.deepEqual(healed.joined!.killers, []);
});

test("trouble that is not a death is thrown, and the search goes on from there", async () => {
  const shard = new Shard(64, (at) => at === 40);
  const verbs = shard.verbs();
  let calls = 0;
  const predict = async (range?: Range) => {
    if (++calls === 4) throw problem("store_timeout", "slow");
    await verbs.predict(range);
  };
  await assert.rejects(predictAround({ ...verbs, predict }), { code: "store_timeout" });
  await shard.run();
  assertCovers(shard);
});
