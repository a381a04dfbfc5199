// Wrong usage: what was typed cannot be meant. The command line exits with 64 for it.
import { PenstockError } from "../base/index.ts";

export class UsageError extends PenstockError {
  constructor(message: string, remedy: string) {
    super({ code: "wrong-usage", disposition: "stalled", message, remedy });
  }
}

/** A whole number of an option within its bounds. */
export function parseNumber(
  text: string,
  option: string,
  bounds: { readonly min: number; readonly max: number },
): number {
  const value = /^[0-9]{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= bounds.min && value <= bounds.max) return value;
  throw new UsageError(
    `Cannot use ${option} ${text}: it is not a number from ${bounds.min} to ${bounds.max}`,
    `Write ${option} with a whole number`,
  );
}

/** A commit as people write it. */
export function parseCommit(text: string): string {
  const commit = text.toLowerCase().replace(/^.*@sha1:/, "");
  if (/^[0-9a-f]{4,40}$/.test(commit)) return commit;
  throw new UsageError(
    `Cannot use ${text} as a commit: it is not 4 to 40 hex digits`,
    "Take one from: penstock history",
  );
}
