/** What a request's class weights mean for the classes of a data set. */
import { problem } from "./problems.ts";
import type { ClassWeights } from "./training.ts";

export interface ClassCount {
  class: string;
  /** Training images. */
  train: number;
}

/**
 * The weight of each class in index order; undefined when the request gives none. `balanced` is scikit-learn's: images
 * over classes times images of the class, so that every class has the same weight in an epoch; a class without
 * training images never is a label, and has 1.
 *
 * Throws `invalid_request` for an array of another length than the classes, and for a name that is no class.
 */
export function classWeightsOf(wanted: ClassWeights | undefined, counts: readonly ClassCount[]): number[] | undefined {
  if (wanted === undefined) return undefined;
  if (wanted === "balanced") {
    const images = counts.reduce((sum, { train }) => sum + train, 0);
    return counts.map(({ train }) => (train === 0 ? 1 : images / (counts.length * train)));
  }
  if (Array.isArray(wanted)) {
    if (wanted.length === counts.length) return wanted;
    const message = `classWeights: ${wanted.length} weights for ${counts.length} classes`;
    throw problem("invalid_request", message, { path: "classWeights" });
  }
  const known = new Set(counts.map((count) => count.class));
  const stranger = Object.keys(wanted).find((name) => !known.has(name));
  if (stranger !== undefined) {
    const message = `classWeights: the data set has no class ${JSON.stringify(stranger)}`;
    throw problem("invalid_request", message, { path: "classWeights", class: stranger });
  }
  return counts.map((count) => (Object.hasOwn(wanted, count.class) ? wanted[count.class]! : 1));
}
