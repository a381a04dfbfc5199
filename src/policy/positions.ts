// Where the values of a document stand in its text: a tree of offsets beside the tree of values, small enough
// to keep (a number for each scalar) and quick to look up.
import type { PolicyPath } from "./types.ts";

/** A scalar's offset, or a list's or mapping's with those of its parts. Offsets are in UTF-16 units. */
export type PositionNode = number | ListPositions | MappingPositions;

export interface ListPositions {
  readonly at: number;
  readonly items: PositionNode[];
}

/** Three arrays of the same length, in the order of the text. */
export interface MappingPositions {
  readonly at: number;
  readonly keys: string[];
  readonly keysAt: number[];
  readonly values: PositionNode[];
}

/** The offset at which the value of `node` begins. */
export function startOf(node: PositionNode): number {
  return typeof node === "number" ? node : node.at;
}

/** The offset of the value at `path`, or of its nearest ancestor that exists. */
export function findValue(root: PositionNode, path: PolicyPath): number {
  let node = root;
  for (const step of path) {
    const next = stepInto(node, step);
    if (next === undefined) break;
    node = next;
  }
  return startOf(node);
}

/** The offset of the key that `path` ends in; as `findValue` where that is no key. */
export function findKey(root: PositionNode, path: PolicyPath): number {
  let node = root;
  for (const step of path.slice(0, -1)) {
    const next = stepInto(node, step);
    if (next === undefined) return startOf(node);
    node = next;
  }
  const key = path.at(-1);
  if (typeof node === "number" || !("keys" in node) || typeof key !== "string") return findValue(root, path);
  return node.keysAt[node.keys.indexOf(key)] ?? node.at;
}

function stepInto(node: PositionNode, step: string | number): PositionNode | undefined {
  if (typeof node === "number") return undefined;
  if ("items" in node) return typeof step === "number" ? node.items[step] : undefined;
  return typeof step === "string" ? node.values[node.keys.indexOf(step)] : undefined;
}

/** Translates offsets to lines and columns, both from 1. */
export interface LineIndex {
  positionAt(offset: number): { readonly line: number; readonly column: number };
  readonly lineCount: number;
}

export function indexLines(text: string): LineIndex {
  let lineCount = 1;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lineCount++;
  const starts = new Uint32Array(lineCount);
  let line = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts[++line] = at + 1;
  const positionAt = (offset: number) => {
    let low = 0;
    let high = lineCount - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - (starts[low] ?? 0) + 1 };
  };
  return { positionAt, lineCount };
}
