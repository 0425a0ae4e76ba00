/**
 * Contestants measured in turns (A B A B …): whatever else the machine does hits all of them alike, so that their
 * ratios hold on a machine whose speed changes.
 */
export interface Contestant {
  name: string;
  unit: string;
  /** Measures once; a second or two of work. */
  turn(): Promise<number>;
}

export interface Measured {
  name: string;
  unit: string;
  /** One for each round, in order. */
  samples: number[];
}

/** Every contestant once for warming up, not counted, then `rounds` times in turns. */
export async function takeTurns(contestants: readonly Contestant[], rounds: number): Promise<Measured[]> {
  const measured = contestants.map(({ name, unit }): Measured => ({ name, unit, samples: [] }));
  for (let round = 0; round <= rounds; round++) {
    for (const [index, contestant] of contestants.entries()) {
      const sample = await contestant.turn();
      if (round > 0) measured[index]!.samples.push(sample);
    }
  }
  return measured;
}

/** One of `a`, one of `b`, and so on; the rest of the longer list at the end. */
export function alternate<T>(a: readonly T[], b: readonly T[]): T[] {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, i) => [
    ...a.slice(i, i + 1),
    ...b.slice(i, i + 1),
  ]).flat();
}

/** The middle sample, or the mean of the two middle ones. Throws RangeError without samples. */
export function median(samples: readonly number[]): number {
  if (samples.length === 0) throw new RangeError("no samples");
  const sorted = samples.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The contestant with the highest median. Throws RangeError when there is none. */
export function best(measured: readonly Measured[]): Measured {
  if (measured.length === 0) throw new RangeError("nothing was measured");
  return measured.reduce((a, b) => (median(b.samples) > median(a.samples) ? b : a));
}

/** How many times as fast the best of ours is as the best of theirs, by their medians. */
export function ratio(ours: readonly Measured[], theirs: readonly Measured[]): number {
  return median(best(ours).samples) / median(best(theirs).samples);
}
