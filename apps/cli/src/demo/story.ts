/** The demo's output: a heading a step, a bar while it goes, and what came out. Plain lines where there is no terminal. */
import type { Epoch, JobView } from "@cardinal/contracts";
import { Presets, SingleBar } from "cli-progress";

const FORMAT = "  {bar} {percentage}% {note}";

export interface Bar {
  /** `done` of `total`; the note stands behind the bar. */
  show(done: number, total: number, note: string): void;
  end(): void;
}

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
    return process.stdout.isTTY ? terminalBar() : lineBar();
  }
}

function terminalBar(): Bar {
  const bar = new SingleBar(
    { format: FORMAT, hideCursor: true, clearOnComplete: true, stopOnComplete: false },
    Presets.rect,
  );
  let started = false;
  return {
    show(done, total, note) {
      if (!started) bar.start(total, done, { note });
      started = true;
      bar.setTotal(total);
      bar.update(done, { note });
    },
    end() {
      if (started) bar.stop();
    },
  };
}

function lineBar(): Bar {
  let quarter = -1;
  return {
    show(done, total, note) {
      const now = total > 0 ? Math.floor((4 * done) / total) : 0;
      if (now <= quarter) return;
      quarter = now;
      console.log(`  ${String(Math.round((100 * done) / Math.max(total, 1))).padStart(3)}% ${note}`);
    },
    end() {},
  };
}

/** Shows a job's progress on a bar. */
export function showJob(bar: Bar, { progress, state, waitingReason }: JobView): void {
  if (!progress) {
    bar.show(0, 1, waitingReason ?? state);
    return;
  }
  const { done, total, unit, phase, etaSeconds, imagesPerSecond, loss } = progress;
  const notes = [
    `${Math.round(done)} of ${total} ${unit}`,
    phase,
    loss !== undefined && `loss ${loss.toFixed(3)}`,
    imagesPerSecond !== undefined && `${Math.round(imagesPerSecond)} images/s`,
    etaSeconds !== undefined && etaSeconds > 0 && `${Math.round(etaSeconds)} s left`,
  ];
  bar.show(done, total, notes.filter(Boolean).join(", "));
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
