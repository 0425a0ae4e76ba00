/** The compute process of a train-worker. */
import { trainPayloadSchema } from "@cardinal/contracts";
import { serveTasks } from "@cardinal/queue/child";
import { software } from "@cardinal/service";
import { openStore, storeConfigFromEnv } from "@cardinal/storage";
import { planFeatures, runTraining } from "@cardinal/training";
import { z } from "zod";

const inputSchema = z.strictObject({
  payload: trainPayloadSchema,
  fence: z.int(),
  checkpointSeconds: z.number(),
});

const planSchema = inputSchema.pick({ payload: true });

const store = await openStore(storeConfigFromEnv(process.env));

serveTasks({
  plan: async (input, { signal, emit }) => {
    const { payload } = planSchema.parse(input);
    return planFeatures({ store, payload, emit, signal });
  },
  train: async (input, { signal, stopReason, emit, ask }) => {
    const { payload, fence, checkpointSeconds } = inputSchema.parse(input);
    return runTraining({
      store,
      payload,
      attempt: fence,
      threads: Number(process.env.THREADS),
      software,
      emit,
      signal,
      stopReason,
      mayPublish: async () => (await ask("mayPublish")) === true,
      checkpointSeconds,
    });
  },
});
