/** A directory store that counts what is asked of it, and images that are digests only. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { type ObjectStore, openStore } from "@cardinal/storage";
import { tempDir } from "@cardinal/testing";

export interface CountedStore extends AsyncDisposable {
  store: ObjectStore;
  /** Calls so far, by method. */
  calls: Map<string, number>;
}

export async function countedStore(): Promise<CountedStore> {
  const folder = await tempDir("features");
  const inner = await openStore({ kind: "directory", path: join(folder.path, "store") });
  const calls = new Map<string, number>();
  const store = new Proxy(inner, {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        calls.set(String(name), (calls.get(String(name)) ?? 0) + 1);
        return value.apply(target, args);
      };
    },
  });
  return {
    store,
    calls,
    async [Symbol.asyncDispose]() {
      await inner.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

export const digestOf = (name: string | number): string => createHash("sha256").update(`${name}`).digest("hex");

/** Digests of the images `from` to before `to`. */
export const imagesFrom = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, index) => digestOf(from + index));

/** A row of each image that tells which image it is of. */
export function rowsOf(images: readonly string[], channels: number, extra = 0): Float32Array {
  const rows = new Float32Array(images.length * channels);
  images.forEach((image, row) => {
    for (let channel = 0; channel < channels; channel++) {
      rows[row * channels + channel] = Number.parseInt(image.slice(0, 6), 16) + channel / 8 + extra;
    }
  });
  return rows;
}
