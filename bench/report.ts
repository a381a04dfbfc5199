// What a suite gives back: tables of figures, and each target with its figure.

/** A row of figures under their names, with the unit in the name. */
export type Row = Readonly<Record<string, string | number>>;

/** What the command line says to a suite. */
export interface SuiteOptions {
  /** A ClassBench rule file and a header trace. */
  readonly rules?: string | undefined;
  readonly trace?: string | undefined;
  /** `match`, or `ignore` for traces made without flags. */
  readonly flags?: string | undefined;
}

export interface Target {
  readonly what: string;
  readonly figure: number;
  readonly atMost: number;
  readonly unit: string;
}

export interface Report {
  readonly tables: Readonly<Record<string, readonly Row[]>>;
  readonly targets: readonly Target[];
  /** What was left out, and why. */
  readonly notes: readonly string[];
}

/** How often a figure is taken: its median counts. */
export const rounds = 3;

export function median(figures: readonly number[]): number {
  const sorted = [...figures].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

/** Two digits after the point, three below one. */
export function round(figure: number): number {
  return Number(figure.toFixed(figure < 1 ? 3 : 2));
}

/** `met      one change: entries written: 2 (at most 2)` */
export function formatTarget({ what, figure, atMost, unit }: Target): string {
  const verdict = figure <= atMost ? "met" : "missed";
  return `${verdict.padEnd(8)}${what}: ${round(figure)}${unit} (at most ${atMost}${unit})`;
}
