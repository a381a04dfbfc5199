// Colours and columns. Colours only where the terminal takes them; without them the same words say everything.
import { styleText } from "node:util";

type Paint = (text: string) => string;

/** How a stream wants text painted. */
export interface Style {
  readonly bold: Paint;
  readonly dim: Paint;
  readonly red: Paint;
  readonly green: Paint;
  readonly yellow: Paint;
  readonly cyan: Paint;
}

export function makeStyle(colour: boolean): Style {
  const paint = (name: "bold" | "dim" | "red" | "green" | "yellow" | "cyan"): Paint =>
    colour ? (text) => styleText(name, text, { validateStream: false }) : (text) => text;
  return {
    bold: paint("bold"),
    dim: paint("dim"),
    red: paint("red"),
    green: paint("green"),
    yellow: paint("yellow"),
    cyan: paint("cyan"),
  };
}

/** A cell of a table: its text, which decides about widths, and how it is painted. */
export type Cell = string | { readonly text: string; readonly paint: Paint };

export interface ColumnOptions {
  /** Columns (from 0) of numbers, which stand to the right. */
  readonly right?: readonly number[];
  readonly indent?: number;
}

/** Rows as lines, in columns two spaces apart. */
export function alignColumns(rows: readonly (readonly Cell[])[], options: ColumnOptions = {}): string[] {
  const { right = [], indent = 0 } = options;
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, widthOf(textOf(cell)));
    });
  }
  return rows.map((row) => {
    const cells = row.map((cell, i) => {
      const text = textOf(cell);
      const painted = typeof cell === "string" ? text : cell.paint(text);
      const gap = " ".repeat(Math.max(0, (widths[i] ?? 0) - widthOf(text)));
      if (right.includes(i)) return `${gap}${painted}`;
      return i === row.length - 1 ? painted : `${painted}${gap}`;
    });
    return `${" ".repeat(indent)}${cells.join("  ")}`.trimEnd();
  });
}

function textOf(cell: Cell): string {
  return typeof cell === "string" ? cell : cell.text;
}

function widthOf(text: string): number {
  return Array.from(text).length;
}
