/** Images that are in train and in val by their very bytes. */
import type { SplitDuplicates } from "@cardinal/contracts";
import type { JudgedImage } from "./judge.ts";

const EXAMPLES = 20;
const PATHS = 3;

/** What is in both splits, examples in the order of `val`. */
export function splitDuplicates(train: readonly JudgedImage[], val: readonly JudgedImage[]): SplitDuplicates {
  const known = Map.groupBy(train, ({ sha256 }) => sha256);
  const shared = Map.groupBy(
    val.filter(({ sha256 }) => known.has(sha256)),
    ({ sha256 }) => sha256,
  );
  const found = Array.from(shared, ([sha256, images]) => {
    const twins = known.get(sha256)!;
    const labels = new Set([...twins, ...images].map(({ label }) => label));
    return { sha256, train: paths(twins), val: paths(images), sameClass: labels.size === 1, images: images.length };
  });
  return {
    contents: found.length,
    validationImages: found.reduce((sum, { images }) => sum + images, 0),
    otherClass: found.filter(({ sameClass }) => !sameClass).length,
    examples: found.slice(0, EXAMPLES).map(({ images: _, ...example }) => example),
  };
}

const paths = (images: readonly JudgedImage[]): string[] => images.slice(0, PATHS).map(({ path }) => path);
