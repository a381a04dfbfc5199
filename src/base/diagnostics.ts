// Findings in policy files. Parsing, validating and compiling never throw for bad policy: they collect all
// findings of all files, so that one run shows everything that is wrong.

/** A place in a policy file; line and column count from 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export type Severity = "error" | "warning";

export interface Diagnostic extends Position {
  readonly severity: Severity;
  /** Stable, kebab-case: `unknown-field`, `host-bits`, ... Listed in docs/diagnostics.md. */
  readonly code: string;
  /** What is wrong and how to fix it, in one line, without final full stop. */
  readonly message: string;
}

/** True if any finding forbids going on. */
export function hasErrors(diagnostics: readonly Diagnostic[]): boolean {
  return diagnostics.some((d) => d.severity === "error");
}

/** Orders findings by file, line, column, code; returns a new array. */
export function sortDiagnostics(diagnostics: readonly Diagnostic[]): Diagnostic[] {
  return [...diagnostics].sort(
    (a, b) =>
      compareText(a.file, b.file) || a.line - b.line || a.column - b.column || compareText(a.code, b.code),
  );
}

/** `policies/edge.yaml:12:9 error unknown-field "destinationPort" is not a field of match` */
export function formatDiagnostic(d: Diagnostic): string {
  return `${d.file}:${d.line}:${d.column} ${d.severity} ${d.code} ${d.message}`;
}

/** Compares by code unit, the same on every machine whatever its locale. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
