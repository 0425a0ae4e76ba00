/** The stand-in engine: 30 ms of sleep an image, then a row. */
import { setTimeout as sleep } from "node:timers/promises";
import { shardPayloadSchema } from "@cardinal/contracts";
import { formatPart, type PartRow, readInputs } from "@cardinal/inference/batch";
import { serveTasks } from "@cardinal/queue/child";
import { layout, openStore, storeConfigFromEnv } from "@cardinal/storage";
import { STAND_IN_CLASSES } from "../stand-in.ts";

const IMAGE_MS = 30;
/** As the real engine: a progress event for each batch. */
const BATCH = 4;

const store = await openStore(storeConfigFromEnv(process.env));
const top = STAND_IN_CLASSES.slice(0, 5).map((name, index) => ({ class: name, index, probability: 0.2 }));

serveTasks({
  ready: async () => true,
  shard: async (input, { emit, signal }) => {
    const payload = shardPayloadSchema.parse((input as { payload: unknown }).payload);
    const inputs = await readInputs(store, payload, signal);
    const rows: PartRow[] = [];
    for (const { image } of inputs) {
      await sleep(IMAGE_MS, undefined, { signal });
      rows.push({ image, sha256: "0".repeat(64), ...top[0]!, top });
      if (rows.length % BATCH > 0 && rows.length < inputs.length) continue;
      const percent = (100 * rows.length) / inputs.length;
      const progress = { done: rows.length, total: inputs.length, unit: "images", percent } as const;
      emit({ type: "images", stage: "predict", outcome: "ok", count: BATCH });
      emit({ type: "progress", progress });
    }
    const part = formatPart({ rows, features: new Float32Array(), width: 0, stages: {} });
    await store.put(layout.part(payload.job, payload.shard), part, { signal });
  },
});
