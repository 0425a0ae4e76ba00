/** Takes the logits of labelled images as they come and keeps what a report says of them, in bounded memory. */
import type { EvaluationReport, Mistake, ModelReport } from "@cardinal/contracts";
import { CalibrationSum } from "./calibration.ts";
import { averages, Confusion } from "./confusion.ts";

/** The most confident mistakes: they show wrong labels and classes that look alike. */
const MISTAKES = 20;
const CONFUSED_PAIRS = 100;

export interface JudgedImage {
  /** Path in the data set. */
  path: string;
  sha256: string;
  /** Class index. */
  label: number;
}

export class Judge {
  readonly #confusion: Confusion;
  readonly #calibration = new CalibrationSum();
  /** The most confident first. */
  readonly #mistakes: Mistake[] = [];
  #images = 0;
  #loss = 0;
  #top1 = 0;
  #top5 = 0;

  constructor(classes: readonly string[]) {
    this.#confusion = new Confusion(classes);
  }

  /** `logits`: [images, classes], row by row. */
  add(logits: Float32Array, images: readonly JudgedImage[]): void {
    const { classes } = this.#confusion;
    images.forEach((image, row) => {
      this.#addRow(logits.subarray(row * classes.length, (row + 1) * classes.length), image);
    });
  }

  #addRow(logits: Float32Array, image: JudgedImage): void {
    const { label } = image;
    const answer = judgeRow(logits, label);
    this.#images++;
    this.#loss += answer.loss;
    if (answer.rank < 1) this.#top1++;
    if (answer.rank < 5) this.#top5++;
    this.#confusion.add(label, answer.predicted);
    this.#calibration.add(answer.probability, answer.rank === 0);
    if (answer.rank > 0) this.#keepMistake(image, answer);
  }

  #keepMistake({ path, sha256, label }: JudgedImage, { predicted, probability, labelProbability }: Answer): void {
    const at = this.#mistakes.findIndex((other) => other.probability < probability);
    const position = at < 0 ? this.#mistakes.length : at;
    if (position >= MISTAKES) return;
    const { classes } = this.#confusion;
    this.#mistakes.splice(position, 0, {
      ...{ image: path, sha256, class: classes[label]!, predicted: classes[predicted]! },
      ...{ probability, classProbability: labelProbability },
    });
    this.#mistakes.length = Math.min(this.#mistakes.length, MISTAKES);
  }

  result(): Pick<ModelReport, "confusion" | "classes"> & { evaluation: EvaluationReport } {
    const classes = this.#confusion.classFigures();
    return {
      confusion: this.#confusion.matrix(),
      classes,
      evaluation: {
        images: this.#images,
        loss: this.#loss / this.#images,
        top1: this.#top1 / this.#images,
        top5: this.#top5 / this.#images,
        averages: averages(classes),
        calibration: this.#calibration.result(),
        confusedPairs: this.#confusion.confusedPairs(CONFUSED_PAIRS),
        mistakes: [...this.#mistakes],
      },
    };
  }
}

interface Answer {
  /** Cross entropy. */
  loss: number;
  predicted: number;
  /** Classes that are more probable than the label; of equal ones those before it. */
  rank: number;
  probability: number;
  labelProbability: number;
}

/** Softmax in float64 with the largest logit taken out, so that nothing overflows. */
function judgeRow(logits: Float32Array, label: number): Answer {
  const own = logits[label]!;
  let predicted = 0;
  let rank = 0;
  for (const [index, value] of logits.entries()) {
    if (value > logits[predicted]!) predicted = index;
    if (value > own || (value === own && index < label)) rank++;
  }
  const largest = logits[predicted]!;
  const sum = logits.reduce((total, value) => total + Math.exp(value - largest), 0);
  return {
    loss: Math.log(sum) + largest - own,
    predicted,
    rank,
    probability: 1 / sum,
    labelProbability: Math.exp(own - largest) / sum,
  };
}
