/** The files of goldens/make.py, and what torch.load makes of them. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import type { Tensor } from "@cardinal/checkpoint";

const folder = path.join(import.meta.dirname, "../goldens");

interface GoldenTensor {
  name: string;
  shape: number[];
  type: "float32" | "int64";
  /** Base64 of the little-endian values. */
  values: string;
}

export interface GoodFile {
  format: string;
  tensors: GoldenTensor[];
  notes: string[];
}
export type Golden = GoodFile | { refused: string };

export const goldens: Record<string, Golden> = JSON.parse(
  readFileSync(path.join(folder, "expected.json"), "utf8"),
).files;

export const goldenPath = (name: string): string => path.join(folder, "files", name);
export const goldenNames = (): string[] => readdirSync(path.join(folder, "files")).sort();

export function goldenTensors({ tensors }: GoodFile): Map<string, Tensor> {
  return new Map(
    tensors.map(({ name, shape, type, values }) => {
      const { buffer } = Uint8Array.from(Buffer.from(values, "base64"));
      return [name, { shape, data: type === "int64" ? new BigInt64Array(buffer) : new Float32Array(buffer) }];
    }),
  );
}
