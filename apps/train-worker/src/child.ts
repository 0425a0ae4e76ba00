/** The compute process of a train-worker. */
import { trainPayloadSchema } from "@cardinal/contracts";
import { serveTasks } from "@cardinal/queue/child";
import { software } from "@cardinal/service";
import { openStore, storeConfigFromEnv } from "@cardinal/storage";
import { runTraining } from "@cardinal/training";
import { z } from "zod";

const inputSchema = z.strictObject({
  payload: trainPayloadSchema,
  fence: z.int(),
  checkpointSeconds: z.number(),
});

const store = await openStore(storeConfigFromEnv(process.env));

serveTasks({
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
