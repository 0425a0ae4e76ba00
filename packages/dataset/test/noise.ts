import type { RgbImage } from "../src/index.ts";

/** The test image of goldens/make.py: a multiplicative hash, over a slow ramp for every second block of 16 bytes. */
export function noise(width: number, height: number): RgbImage {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < data.length; i++) {
    let h = Math.imul(i, 0x9e3779b1);
    h ^= h >>> 15;
    h = Math.imul(h, 0x85ebca6b);
    data[i] = (i >>> 4) & 1 ? i >>> 5 : h >>> 24;
  }
  return { width, height, data };
}
