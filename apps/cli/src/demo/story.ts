/** The demo's output: a heading a step, a bar while it goes, and what came out. Plain lines where there is no terminal. */
import type { Epoch } from "@cardinal/contracts";
import { type Bar, makeBar } from "../progress-bar.ts";

export class Story {
  #step = 0;

  step(text: string): void {
    this.#step++;
    console.log(`\n${this.#step}. ${text}`);
  }

  line(text: string): void {
    console.log(`  ${text}`);
  }

  /** A bar on a terminal; elsewhere a line at every quarter. */
  bar(): Bar {
    return makeBar(process.stdout);
  }
}

export function epochLine(epoch: Epoch, epochs: number): string {
  const percent = (ratio: number) => `${(100 * ratio).toFixed(2)}%`;
  return [
    `epoch ${epoch.epoch} of ${epochs}:`,
    `train loss ${epoch.trainLoss.toFixed(3)},`,
    `accuracy ${percent(epoch.trainAccuracy)};`,
    `validation loss ${epoch.valLoss.toFixed(3)},`,
    `accuracy ${percent(epoch.valAccuracy)}`,
    `(${epoch.seconds.toFixed(1)} s, ${Math.round(epoch.imagesPerSecond)} images/s)`,
  ].join(" ");
}
