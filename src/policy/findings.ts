// Collects the findings of one file. However bad a file is, the collection stays small: after the configured
// number findings are only counted, and their messages are never built.
import { type Diagnostic, type Severity, sortDiagnostics } from "../base/index.ts";
import type { PolicyCode } from "./codes.ts";
import { formatCount } from "./limits.ts";
import type { LineIndex } from "./positions.ts";

/** Takes a finding at an offset of the text. Offset and message are asked for only if they are kept. */
export type Report = (
  code: PolicyCode,
  at: number | (() => number),
  message: string | (() => string),
  severity?: Severity,
) => void;

export interface Findings {
  readonly report: Report;
  /** The number of errors so far, also of those that were only counted. */
  countErrors(): number;
  /** What was found, by position; the last one says how many more there are. */
  list(): Diagnostic[];
}

export interface FindingsOptions {
  readonly file: string;
  readonly findingsMax: number;
  /** Called when the first finding is placed. */
  readonly lines: () => LineIndex;
}

export function collectFindings({ file, findingsMax, lines }: FindingsOptions): Findings {
  const kept: Diagnostic[] = [];
  let errors = 0;
  let total = 0;
  let index: LineIndex | undefined;
  const report: Report = (code, at, message, severity = "error") => {
    total++;
    if (severity === "error") errors++;
    if (kept.length >= findingsMax) return;
    index ??= lines();
    const position = index.positionAt(typeof at === "number" ? at : at());
    kept.push({
      file,
      ...position,
      severity,
      code,
      message: typeof message === "string" ? message : message(),
    });
  };
  const list = (): Diagnostic[] => {
    const sorted = sortDiagnostics(kept);
    const more = total - kept.length;
    if (more === 0) return sorted;
    const line = (index ?? lines()).lineCount;
    const message = `${formatCount(more)} more ${more === 1 ? "finding" : "findings"} in this file; correct those above and check again`;
    sorted.push({ file, line, column: 1, severity: "error", code: "too-many-findings", message });
    return sorted;
  };
  return { report, countErrors: () => errors, list };
}
