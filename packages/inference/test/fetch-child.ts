/** A process that fetches a model as soon as its parent says so, slowly; tells the path and how often it fetched. */
import { setTimeout as sleep } from "node:timers/promises";
import { type ObjectStore, openStore } from "@cardinal/storage";
import { ModelCache } from "../src/index.ts";

const [storePath, dir, model] = process.argv.slice(2) as [string, string, string];
let fetches = 0;
const store = await openStore({ kind: "directory", path: storePath });
const slow = new Proxy(store, {
  get(target, name) {
    const member = Reflect.get(target, name);
    if (name !== "get") return typeof member === "function" ? member.bind(target) : member;
    return async (...args: Parameters<ObjectStore["get"]>) => {
      fetches++;
      await sleep(300); // long enough that every process has asked before the first has it
      return target.get(...args);
    };
  },
});
process.once("message", async () => {
  const { onnxPath } = await new ModelCache({ store: slow, dir, maxBytes: 1e9 }).get(model);
  await store.close();
  process.send!({ onnxPath, fetches }, () => process.disconnect());
});
process.send!("ready");
