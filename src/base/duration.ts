// Lengths of time as people write them: 30s, 5m, 2h, 1d.
import { bug } from "./errors.ts";

const seconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86400 };

/** Seconds of a text that the schema's `duration` allows. */
export function parseDuration(text: string): number {
  const [, number, unit] = /^([1-9][0-9]{0,6})([smhd])$/.exec(text) ?? [];
  if (number === undefined || unit === undefined) throw bug("Cannot read a length of time", { text });
  return Number(number) * (seconds[unit] ?? 0);
}

/** The shortest way to write it: 90 seconds are `90s`, 120 are `2m`. */
export function formatDuration(totalSeconds: number): string {
  for (const unit of ["d", "h", "m"]) {
    const size = seconds[unit] ?? 1;
    if (totalSeconds >= size && totalSeconds % size === 0) return `${totalSeconds / size}${unit}`;
  }
  return `${totalSeconds}s`;
}
