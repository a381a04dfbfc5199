// Where a command's result goes: data on stdout as text or JSON, messages on stderr.
import { type Diagnostic, formatDiagnostic, type PenstockError } from "../base/index.ts";
import { makeStyle, type Style } from "./style.ts";
import { type Terminal, wantsColour } from "./terminal.ts";
import { plain, plainLines, safeJson } from "./text.ts";

export type OutputFormat = "text" | "json";

export class Output {
  readonly format: OutputFormat;
  /** For stdout. */
  readonly style: Style;
  /** For stderr. */
  readonly errStyle: Style;
  readonly #terminal: Terminal;

  constructor(terminal: Terminal, format: OutputFormat) {
    this.#terminal = terminal;
    this.format = format;
    this.style = makeStyle(wantsColour(terminal, "out"));
    this.errStyle = makeStyle(wantsColour(terminal, "err"));
  }

  /** The result of a command: as JSON, or as the lines that `render` makes of it. */
  result<T extends object>(value: T, render: (value: T, style: Style) => readonly string[]): void {
    if (this.format === "json") this.#terminal.writeOut(`${safeJson(value, 2)}\n`);
    else this.lines(render(value, this.style));
  }

  /** One of many results: a line of JSON, or the lines that `render` makes of it. */
  item<T extends object>(value: T, render: (value: T, style: Style) => readonly string[]): void {
    if (this.format === "json") this.#terminal.writeOut(`${safeJson(value)}\n`);
    else this.lines(render(value, this.style));
  }

  lines(lines: readonly string[]): void {
    if (lines.length > 0) this.#terminal.writeOut(`${lines.join("\n")}\n`);
  }

  /** A message for people beside the result. */
  note(text: string): void {
    this.#terminal.writeErr(`${plain(text)}\n`);
  }

  warn(text: string): void {
    this.#terminal.writeErr(`${this.errStyle.yellow("Warning:")} ${plain(text)}\n`);
  }

  /** Findings, as they are formatted everywhere: `file:line:column error code message`. */
  findings(findings: readonly string[]): void {
    for (const finding of findings)
      this.#terminal.writeErr(`${paintFinding(plain(finding), this.errStyle)}\n`);
  }

  /** An error with its remedy; `debug` adds where it comes from. */
  error(error: PenstockError, debug: boolean): void {
    if (this.format === "json") {
      const { code, message, remedy, data } = error;
      this.#terminal.writeErr(`${safeJson({ error: { code, message, remedy: remedy ?? null, data } })}\n`);
    } else {
      this.#terminal.writeErr(`${this.errStyle.red("Error:")} ${plainLines(error.message).join("\n  ")}\n`);
      if (error.remedy !== undefined) this.#terminal.writeErr(`  ${plain(error.remedy)}\n`);
    }
    if (debug) this.#terminal.writeErr(`${stackOf(error).join("\n")}\n`);
  }
}

/** A finding with its severity painted. */
export function paintFinding(finding: string, style: Style): string {
  return finding
    .replace(/^(\S+:\d+:\d+) error /, (_, place: string) => `${style.bold(place)} ${style.red("error")} `)
    .replace(
      /^(\S+:\d+:\d+) warning /,
      (_, place: string) => `${style.bold(place)} ${style.yellow("warning")} `,
    );
}

/** Findings as lines for stdout. */
export function renderDiagnostics(diagnostics: readonly Diagnostic[], style: Style): string[] {
  return diagnostics.map((d) => paintFinding(plain(formatDiagnostic(d)), style));
}

function stackOf(error: unknown): string[] {
  const lines: string[] = [];
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    if (depth > 0) lines.push("Caused by:");
    lines.push(...plainLines(at.stack ?? at.message));
  }
  return lines;
}
