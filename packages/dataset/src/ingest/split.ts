/** Draws a val split from classes that have none. */
import { codePointOrder } from "../order.ts";
import { seededRandom, shuffled } from "../random.ts";

/**
 * The paths that go to val: of each class `fraction` of its images, rounded, but at least one and never all. A class
 * of one image keeps it in train. The draw depends on the seed, the class's name and its paths alone, neither on the
 * archive's order nor on other classes.
 */
export function drawVal(classes: ReadonlyMap<string, readonly string[]>, fraction: number, seed: number): Set<string> {
  const drawn = new Set<string>();
  for (const [name, paths] of classes) {
    if (paths.length < 2) continue;
    const count = Math.min(paths.length - 1, Math.max(1, Math.round(paths.length * fraction)));
    const sorted = [...paths].sort(codePointOrder);
    const order = shuffled(sorted.length, seededRandom(seed, ...Buffer.from(name)));
    for (const index of order.subarray(0, count)) drawn.add(sorted[index]!);
  }
  return drawn;
}
