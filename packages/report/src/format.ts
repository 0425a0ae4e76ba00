/** Numbers as people read them. */

/** `97.3%` */
export const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;

/** Four digits that count: `0.0001`, `1.234`, `12,345`, `1e-7`. */
export function number(value: number): string {
  if (value !== 0 && Math.abs(value) < 1e-6) return String(Number(value.toPrecision(4)));
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return value.toLocaleString("en-US", { maximumSignificantDigits: 4 });
}

/** `0.42 s`, `48 s`, `3 min 5 s`, `2 h 10 min`. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 60) return `${seconds.toFixed(0)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
