/** Where the time of a training went. */
import type { Epoch, TrainingPhase } from "@cardinal/contracts";

export interface PhaseTimes {
  epochs: readonly Epoch[];
  /** Seconds of everything before the report, over all attempts that the checkpoints remember. */
  trainSeconds: number;
  /** Images of one validation. */
  validationImages: number;
  judge: { images: number; seconds: number };
  exportSeconds: number;
}

/** Phases in their order. Epochs of versions that did not note what training took count as training as a whole. */
export function trainingPhases({ epochs, trainSeconds, ...times }: PhaseTimes): TrainingPhase[] {
  const sum = (of: (epoch: Epoch) => number) => epochs.reduce((total, epoch) => total + of(epoch), 0);
  const inEpochs = sum(({ seconds }) => seconds);
  const inTraining = sum((epoch) => epoch.trainSeconds ?? epoch.seconds);
  const images = sum((epoch) => epoch.trainImages ?? 0);
  return [
    { phase: "prepare", seconds: Math.max(0, trainSeconds - inEpochs) },
    phase("train", inTraining, images),
    phase("validate", inEpochs - inTraining, epochs.length * times.validationImages),
    phase("judge", times.judge.seconds, times.judge.images),
    { phase: "export", seconds: times.exportSeconds },
  ];
}

function phase(name: TrainingPhase["phase"], seconds: number, images: number): TrainingPhase {
  if (images === 0 || seconds <= 0) return { phase: name, seconds };
  return { phase: name, seconds, images, imagesPerSecond: images / seconds };
}
