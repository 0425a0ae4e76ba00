/** The end of a search for killers: the pieces of a shard, and error rows for the killers, become its part. */
import { problem, type ShardPayload } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import type { KillerSearch } from "./killer-search.ts";
import { errorRow, formatPart, joinParts, type Part, readPart } from "./part.ts";
import { readInputs } from "./plan.ts";

/** Joining again what was joined writes the same part. Throws `internal_error` when a piece is gone. */
export async function joinPieces(
  store: ObjectStore,
  payload: ShardPayload,
  { done, killers }: Pick<KillerSearch, "done" | "killers">,
  signal?: AbortSignal,
): Promise<void> {
  const { job, shard } = payload;
  const inputs = await readInputs(store, payload, signal);
  const places: { first: number; part: Part }[] = [];
  for (const { first, count } of done) {
    const key = layout.piece(job, shard, first, count);
    const part = await readPart(store, key, signal);
    if (!part) throw problem("internal_error", `${key} is gone before it was joined`);
    places.push({ first, part });
  }
  for (const { at, code } of killers) {
    const message = `the process that predicts died twice with this image alone (${code})`;
    const rows = [errorRow(inputs[at]!, { code: "image_kills_process", message })];
    places.push({ first: at, part: { rows, features: new Float32Array(), width: 0, stages: {} } });
  }
  const part = joinParts(places.sort((a, b) => a.first - b.first).map((place) => place.part));
  if (part.rows.length !== payload.images) {
    throw problem(
      "internal_error",
      `the pieces of shard ${shard} have ${part.rows.length} rows, not ${payload.images}`,
    );
  }
  await store.put(layout.part(job, shard), formatPart(part), { signal });
}
