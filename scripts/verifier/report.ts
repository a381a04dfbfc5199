// What the kernels made of the objects, for people.
import type { KernelLoad, Refusal } from "./loader.ts";

const headings = [
  ["program", "section", "type", "instructions", "xlated bytes", "jited bytes", "verified", "verdict"],
];

/** A table of the programs and, behind it, each refusal with the end of its log; whole lines. */
export function formatLoad({ kernel, programs, refusals }: KernelLoad): string {
  const rows = programs.map((load) => [
    `${load.object}/${load.program}`,
    load.section,
    load.type,
    ...[load.instructions, load.xlatedBytes, load.jitedBytes, load.verifiedInstructions].map(group),
    load.verdict,
  ]);
  return [`Linux ${kernel}`, ...align([...headings, ...rows]), ...refusals.flatMap(formatRefusal)].join("\n");
}

function formatRefusal({ object, program, reason, log }: Refusal): string[] {
  const what = program === "-" ? object : `${object}/${program}`;
  return [`  REFUSED ${what}: ${reason}`, ...log.map((line) => `    ${line}`)];
}

function align(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const isNumber = (text: string) => /^[\d,]+$/.test(text);
  return rows.map((row) => {
    const cells = row.map((text, column) => {
      const width = widths[column] ?? 0;
      return isNumber(text) ? text.padStart(width) : text.padEnd(width);
    });
    return `  ${cells.join("  ")}`.trimEnd();
  });
}

function group(figure: number): string {
  return figure.toLocaleString("en-US");
}
