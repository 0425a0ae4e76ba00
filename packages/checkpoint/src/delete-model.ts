/** Deleting a model: refused while it is used, and completed by whoever comes next when the process dies (removal.ts). */
import { type Ancestor, CardinalError, problem } from "@cardinal/contracts";
import { layout, type ObjectStore, type Removal, removeUnused } from "@cardinal/storage";
import { aliasesByModel } from "./aliases.ts";
import { ancestorOf } from "./lineage.ts";
import { findManifest, readModel } from "./registry.ts";
import { sweepJob } from "./sweep.ts";

export interface DeleteModelOptions {
  /** Who asks. */
  by?: string;
  /** Ids of the open jobs that use the model, or that make it. */
  jobs(): Promise<string[]>;
}

/**
 * Deletes a model by its id. What it came from stays known. Throws `model_not_found`, `model_in_use` with the names of
 * the aliases and jobs, `being_deleted`.
 */
export async function deleteModel(store: ObjectStore, id: string, options: DeleteModelOptions): Promise<void> {
  await readModel(store, id);
  await removeUnused(store, modelRemoval(store, id, options));
}

export function modelRemoval(store: ObjectStore, id: string, { by, jobs }: DeleteModelOptions): Removal {
  return {
    what: `the model ${id}`,
    key: layout.modelRemoval(id),
    by,
    async refuseWhenUsed() {
      const users = { aliases: (await aliasesByModel(store)).get(id) ?? [], jobs: await jobs() };
      if (users.aliases.length + users.jobs.length === 0) return;
      const names = [
        ...users.aliases.map((alias) => `the alias ${alias}`),
        ...users.jobs.map((job) => `the job ${job}`),
      ];
      throw problem("model_in_use", `the model ${id} is used by ${names.join(", ")}`, { model: id, ...users });
    },
    async remove() {
      const manifest = await findManifest(store, id);
      if (manifest) {
        await remember(store, {
          ...ancestorOf(manifest),
          deletedAt: new Date().toISOString(),
          ...(by && { deletedBy: by }),
        });
        // The pointer of the job that made it would write its manifest again.
        await sweepJob(store, manifest.lineage.job, { keepCheckpoints: false });
        await store.delete(layout.modelManifest(id));
      }
      await store.deletePrefix(layout.model(id));
    },
  };
}

async function remember(store: ObjectStore, ancestor: Ancestor): Promise<void> {
  try {
    await store.swapPointer(layout.deletedModel(ancestor.id), undefined, ancestor);
  } catch (error) {
    // The process that died after it has said the same.
    if (!(error instanceof CardinalError) || error.code !== "object_changed") throw error;
  }
}
