// The one error type of the project. Bad policy is not an exception (see diagnostics.ts); an exception says
// that an action on the world could not be done, why, and what a person can do about it.

/**
 * What follows from an error: `stalled` needs a person (no retry until the revision or the configuration
 * changes), `transient` is tried again with backoff, `bug` means that an invariant is broken (fail closed).
 */
export type Disposition = "stalled" | "transient" | "bug";

export interface ErrorFields {
  /** Stable, kebab-case, for machines: `source-unreachable`, `kernel-call-failed`, ... */
  readonly code: string;
  readonly disposition: Disposition;
  /** "Cannot <action> <thing>: <current state>", sentence case, no final full stop. */
  readonly message: string;
  /** What a person can do about it: one imperative sentence without final full stop. */
  readonly remedy?: string;
  /** Typed facts for JSON output; never secrets. */
  readonly data?: Readonly<Record<string, string | number | boolean | null | readonly string[]>>;
  readonly cause?: unknown;
}

/** Every error that this project throws. */
export class PenstockError extends Error {
  readonly code: string;
  readonly disposition: Disposition;
  readonly remedy: string | undefined;
  readonly data: NonNullable<ErrorFields["data"]>;

  constructor(fields: ErrorFields) {
    super(fields.message, fields.cause === undefined ? undefined : { cause: fields.cause });
    this.name = "PenstockError";
    this.code = fields.code;
    this.disposition = fields.disposition;
    this.remedy = fields.remedy;
    this.data = fields.data ?? {};
  }
}

/** A broken invariant: thrown where continuing could corrupt state. */
export function bug(message: string, data?: ErrorFields["data"]): PenstockError {
  return new PenstockError({
    code: "invariant-broken",
    disposition: "bug",
    message,
    remedy: "Report this with the output of the command and the audit record",
    ...(data === undefined ? {} : { data }),
  });
}

/** Turns anything that was thrown into a PenstockError; what is not ours is taken as a bug. */
export function asPenstockError(thrown: unknown): PenstockError {
  if (thrown instanceof PenstockError) return thrown;
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return new PenstockError({
    code: "unexpected",
    disposition: "bug",
    message: `Cannot go on: ${text}`,
    remedy: "Report this with the output of the command",
    cause: thrown,
  });
}
