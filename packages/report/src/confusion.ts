/** Which class was taken for which, and the figures of classes that follow from it. */
import type { ConfusedPair, EvaluationReport, ModelReport } from "@cardinal/contracts";

/** Above so many classes the whole matrix would be millions of numbers, nearly all 0: `matrix` gives none then. */
export const MAX_MATRIX_CLASSES = 1_000;

/** Only pairs that occur take memory: at most one for each image. */
export class Confusion {
  readonly classes: readonly string[];
  /** By true class * classes + predicted class. */
  readonly #counts = new Map<number, number>();

  constructor(classes: readonly string[]) {
    this.classes = classes;
  }

  add(label: number, predicted: number): void {
    const key = label * this.classes.length + predicted;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  /** What occurred, in no order. */
  *pairs(): Generator<{ label: number; predicted: number; images: number }> {
    const size = this.classes.length;
    for (const [key, images] of this.#counts) {
      yield { label: Math.floor(key / size), predicted: key % size, images };
    }
  }

  /** Rows are true classes, columns predicted ones; empty above `MAX_MATRIX_CLASSES`. */
  matrix(): number[][] {
    const size = this.classes.length;
    if (size > MAX_MATRIX_CLASSES) return [];
    const rows = Array.from({ length: size }, () => new Array<number>(size).fill(0));
    for (const { label, predicted, images } of this.pairs()) rows[label]![predicted] = images;
    return rows;
  }

  /**
   * Precision (right answers over answers), recall (right answers over images) and F1 (their harmonic mean) of every
   * class. What has no denominator is 0, as scikit-learn's `zero_division` default has it.
   */
  classFigures(): ModelReport["classes"] {
    const sums = this.classes.map(() => ({ right: 0, images: 0, answers: 0 }));
    for (const { label, predicted, images } of this.pairs()) {
      sums[label]!.images += images;
      sums[predicted]!.answers += images;
      if (label === predicted) sums[label]!.right += images;
    }
    return sums.map(({ right, images, answers }, index) => ({
      class: this.classes[index]!,
      images,
      precision: over(right, answers),
      recall: over(right, images),
      f1: over(2 * right, images + answers),
    }));
  }

  /** The most frequent confusions first; of equals the first in class index order. */
  confusedPairs(limit: number): ConfusedPair[] {
    const images = new Map<number, number>();
    const wrong = [];
    for (const pair of this.pairs()) {
      images.set(pair.label, (images.get(pair.label) ?? 0) + pair.images);
      if (pair.label !== pair.predicted) wrong.push(pair);
    }
    wrong.sort((a, b) => b.images - a.images || a.label - b.label || a.predicted - b.predicted);
    return wrong.slice(0, limit).map((pair) => ({
      class: this.classes[pair.label]!,
      predicted: this.classes[pair.predicted]!,
      images: pair.images,
      share: pair.images / images.get(pair.label)!,
    }));
  }
}

const over = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);

/** Means over the classes that have images, as scikit-learn's `macro avg` and `weighted avg` where all of them do. */
export function averages(classes: ModelReport["classes"]): EvaluationReport["averages"] {
  const present = classes.filter(({ images }) => images > 0);
  const mean = (weight: (images: number) => number) => {
    const total = present.reduce((sum, { images }) => sum + weight(images), 0);
    const of = (figure: "precision" | "recall" | "f1") =>
      over(
        present.reduce((sum, row) => sum + weight(row.images) * row[figure], 0),
        total,
      );
    return { precision: of("precision"), recall: of("recall"), f1: of("f1") };
  };
  return { macro: mean(() => 1), weighted: mean((images) => images) };
}
