/**
 * To whom a store belongs: one installation, which is one Redis and namespace.
 *
 * Housekeeping removes the checkpoints, parts and uploads of jobs that its Redis does not know. On a store of somebody
 * else that would be all of them, so a store names its installation from its first use on.
 */
import { CardinalError, problem } from "@cardinal/contracts";
import { layout } from "./layout.ts";
import type { ObjectStore } from "./object-store.ts";

/**
 * Makes the store the installation's, or finds that it is. `adopt` takes it from another installation, as is right when
 * that one's Redis is lost for good. Throws `store_misconfigured` for a store of another installation.
 */
export async function claimStore(store: ObjectStore, installation: string, adopt = false): Promise<void> {
  const found = await store.readPointer(layout.owner);
  const owner = (found?.value as { installation?: string } | undefined)?.installation;
  if (owner === installation) return;
  if (found !== undefined && !adopt) {
    throw problem(
      "store_misconfigured",
      `${store.description} belongs to installation ${owner}, this Redis and namespace to ${installation}: ` +
        "give each its own store; if the other's Redis is lost for good, start once with STORE_ADOPT=true",
      { owner, installation },
    );
  }
  try {
    await store.swapPointer(layout.owner, found?.etag, { installation });
  } catch (error) {
    if (!(error instanceof CardinalError) || error.code !== "object_changed") throw error;
    // Somebody was quicker: another process of this installation, or another installation.
    return claimStore(store, installation);
  }
}
