import path from "node:path";
import { type DigitCounts, digitImages, writeZip } from "@cardinal/samples";
import { tempDir } from "./temp-dir.ts";

export interface DigitsZip extends AsyncDisposable {
  /** Full path of the zip file. */
  path: string;
}

/** A zip of the digits in a temp folder. */
export async function digitsZip(counts: DigitCounts): Promise<DigitsZip> {
  const folder = await tempDir("digits");
  const file = path.join(folder.path, "digits.zip");
  try {
    await writeZip(file, digitImages(counts));
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
  return { path: file, [Symbol.asyncDispose]: folder[Symbol.asyncDispose] };
}
