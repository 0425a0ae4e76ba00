/** The compute process for shards and single images. */
import {
  contactSheetTaskSchema,
  featureShardPayloadSchema,
  imagePayloadSchema,
  problem,
  shardPayloadSchema,
} from "@cardinal/contracts";
import { blobReader } from "@cardinal/dataset";
import { extractShard, ImagesFirst, ModelCache, predictImage, predictShard, SessionPool } from "@cardinal/inference";
import { serveTasks } from "@cardinal/queue/child";
import { writeContactSheet } from "@cardinal/report";
import { openStore, storeConfigFromEnv } from "@cardinal/storage";
import { z } from "zod";

/** Models kept on the disk of the machine. */
const MAX_CACHE_BYTES = 4e9;
/** Encoded images of duplicates within a shard; the images of a shard are read once. */
const BLOB_MEMORY_BYTES = 16e6;

const store = await openStore(storeConfigFromEnv(process.env));
const models = new SessionPool({
  cache: new ModelCache({ store, dir: process.env.CACHE_DIR!, maxBytes: MAX_CACHE_BYTES }),
  threads: Number(process.env.THREADS),
  maxBytes: Number(process.env.MODEL_MEMORY_MB) * 1e6,
});
const read = blobReader(store, { memoryBytes: BLOB_MEMORY_BYTES });

const batchSize = Number(process.env.BATCH_SIZE);
const order = new ImagesFirst();
const turn = () => order.shardTurn();

const shardTaskSchema = z.strictObject({
  payload: shardPayloadSchema,
  range: z.strictObject({ first: z.int().min(0), count: z.int().min(0) }).optional(),
});

serveTasks({
  shard: async (input, { emit, signal }) => {
    const { payload, range } = shardTaskSchema.parse(input);
    return predictShard({ store, payload, range, models, read, batchSize, turn, emit, signal });
  },
  features: async (input, { emit, signal }) => {
    const payload = featureShardPayloadSchema.parse(input);
    return extractShard({ store, payload, models, read, batchSize, turn, emit, signal });
  },
  image: async (input, { emit, signal }) => {
    const { image, model, topK, wait } = imagePayloadSchema.parse(input);
    if (!wait && !models.isReady(model, emit)) throw problem("model_warming", `${model} is being loaded`, { model });
    return order.image(async () =>
      predictImage({ bytes: await store.read(image, { signal }), model, topK, models, emit, signal }),
    );
  },
  "contact-sheet": async (input, { signal }) => {
    return writeContactSheet({ ...contactSheetTaskSchema.parse(input), store, signal });
  },
});
