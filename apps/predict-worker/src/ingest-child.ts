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
import { tellBytes } from "./tell-bytes.ts";

const store = await openStore(storeConfigFromEnv(process.env));

serveTasks({
  ingest: async (input, { emit, signal, ask }) => {
    const { archive, request, createdBy } = ingestPayloadSchema.parse(input);
    // Archives are read at any place, so they need a file.
    const folder = await mkdtemp(join(tmpdir(), "cardinal-ingest-"));
    try {
      const archivePath = join(folder, "archive");
      const total = (await store.stat(archive))?.bytes;
      const source = await store.get(archive, { signal });
      const told = tellBytes(emit, total);
      source.on("data", (chunk: Buffer) => told(chunk.length));
      await pipeline(source, createWriteStream(archivePath), { signal });
      const mayPublish = async () => (await ask("mayPublish")) === true;
      return await ingestArchive({
        archivePath,
        store,
        request,
        createdBy,
        emit,
        signal,
        mayPublish,
        onRead: tellBytes(emit, total),
      });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
});
