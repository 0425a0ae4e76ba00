/** A bar on a terminal; elsewhere a line at every quarter. */
import type { JobView } from "@cardinal/contracts";
import { Presets, SingleBar } from "cli-progress";

const FORMAT = "  {bar} {percentage}% {note}";

export interface Bar {
  /** `done` of `total`; the note stands behind the bar. */
  show(done: number, total: number, note: string): void;
  end(): void;
}

export const makeBar = (stream: NodeJS.WriteStream): Bar => (stream.isTTY ? terminalBar(stream) : lineBar(stream));

function terminalBar(stream: NodeJS.WriteStream): Bar {
  const bar = new SingleBar(
    { format: FORMAT, stream, hideCursor: true, clearOnComplete: true, stopOnComplete: false },
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

function lineBar(stream: NodeJS.WriteStream): Bar {
  let quarter = -1;
  return {
    show(done, total, note) {
      const now = total > 0 ? Math.floor((4 * done) / total) : 0;
      if (now <= quarter) return;
      quarter = now;
      stream.write(`  ${String(Math.round((100 * done) / Math.max(total, 1))).padStart(3)}% ${note}\n`);
    },
    end() {},
  };
}

/** Shows a job's progress on a bar. */
export function showJob(bar: Bar, { progress, state, waiting }: JobView): void {
  if (!progress) {
    bar.show(0, 1, waiting?.text ?? state);
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
