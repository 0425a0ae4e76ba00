/** Makes src/resample.wasm from src/resample.wat: `node packages/dataset/kernel/make.ts`. */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import wabt from "wabt";

const source = new URL("../src/resample.wat", import.meta.url);
export const target = new URL("../src/resample.wasm", import.meta.url);

/** The module's bytes, as the source says. Throws with the place of the mistake when it is not valid. */
export async function compileKernel(): Promise<Uint8Array> {
  const { parseWat } = await wabt();
  const module = parseWat(fileURLToPath(source), readFileSync(source, "utf8"), { simd: true });
  try {
    module.validate();
    return module.toBinary({}).buffer;
  } finally {
    module.destroy();
  }
}

if (import.meta.main) writeFileSync(target, await compileKernel());
