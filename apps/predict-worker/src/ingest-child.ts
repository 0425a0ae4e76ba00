/** The compute process for ingests: an archive is read, checked and taken apart here. */

import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { ingestPayloadSchema } from "@cardinal/contracts";
import { ingestArchive } from "@cardinal/dataset";
import { serveTasks } from "@cardinal/queue/child";
import { openStore, storeConfigFromEnv } from "@cardinal/storage";

const store = await openStore(storeConfigFromEnv(process.env));

serveTasks({
  ingest: async (input, { emit, signal }) => {
    const { archive, request } = ingestPayloadSchema.parse(input);
    // A zip's directory is at its end: it needs a file that can be read at any place.
    const folder = await mkdtemp(join(tmpdir(), "cardinal-ingest-"));
    try {
      const archivePath = join(folder, "archive");
      await pipeline(await store.get(archive, { signal }), createWriteStream(archivePath), { signal });
      return await ingestArchive({ archivePath, store, request, emit, signal });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
});
