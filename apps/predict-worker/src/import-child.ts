/** The compute process for imports: files of elsewhere are read here, apart from everything else. */
import { importPayloadSchema } from "@cardinal/contracts";
import { serveTasks } from "@cardinal/queue/child";
import { software } from "@cardinal/service";
import { openStore, storeConfigFromEnv } from "@cardinal/storage";
import { z } from "zod";
import { importModel } from "./import-model.ts";

const inputSchema = z.strictObject({
  payload: importPayloadSchema,
  fence: z.int(),
  allowedHosts: z.array(z.string()),
  idleMs: z.int().positive(),
});

const store = await openStore(storeConfigFromEnv(process.env));

serveTasks({
  import: async (input, { emit, signal, ask }) => {
    const { fence, ...given } = inputSchema.parse(input);
    return importModel({
      ...given,
      store,
      attempt: fence,
      threads: Number(process.env.THREADS),
      software,
      emit,
      signal,
      mayPublish: async () => (await ask("mayPublish")) === true,
    });
  },
});
