/** What the directory store's tests run in processes of their own: `directory-child.ts ROOT WHAT …`. */
import fs from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { CardinalError } from "@cardinal/contracts";
import { openStore } from "../src/index.ts";
import { increment } from "./conformance-pointers.ts";
import { all } from "./subject.ts";

const [root, what, ...args] = process.argv.slice(2) as [string, string, ...string[]];
const store = await openStore({ kind: "directory", path: root });

const work: Record<string, () => Promise<void>> = {
  /** Tries to create keys 0 to COUNT-1 with NAME as content; prints which it did. */
  async create() {
    const [count, name] = args as [string, string];
    const won: number[] = [];
    for (let i = 0; i < Number(count); i++) {
      const created = await store.put(`raced/${i}`, Buffer.from(name), { ifAbsent: true }).then(
        () => true,
        (error: CardinalError) => {
          if (error.code !== "object_exists") throw error;
        },
      );
      if (created) won.push(i);
    }
    console.log(JSON.stringify(won));
  },

  /** Increments the counter COUNT times; prints how often after each. */
  async increment() {
    for (let i = 1; i <= Number(args[0]); i++) {
      await increment(store, "counter");
      console.log(i);
    }
  },

  /** Puts a stream that never ends; prints `half` when a megabyte has passed. */
  async endless() {
    const source = async function* () {
      for (let i = 0; ; i++) {
        if (i === 16) console.log("half");
        if (i >= 16) await sleep(5);
        yield Buffer.alloc(65_536);
      }
    };
    await store.put("endless", Readable.from(source(), { objectMode: false }));
  },

  /** Puts more than there is space for. */
  async fill() {
    await store.put("small", Buffer.from("x"));
    const error = await store.put("large", Buffer.alloc(2_000_000)).catch((thrown: CardinalError) => thrown);
    const objects = (await all(store.list(""))).map(({ key }) => key);
    const temp = (await fs.readdir(path.join(root, "tmp"))).length;
    console.log(JSON.stringify({ code: "code" in error ? error.code : "none", temp, objects }));
  },
};

await work[what]?.();
await store.close();
