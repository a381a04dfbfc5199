// What is left of a document without the parts that do not fit its schema. It is never applied: it only lets the
// later stages find what else is wrong, so that one run shows everything.
import type { PolicyPath } from "./types.ts";

export interface Pruned {
  /** A copy without the parts; what is kept is shared with the original. */
  readonly value: unknown;
  /** The path in the original of what stands at `path` in the copy: list items have moved up. */
  original(path: PolicyPath): PolicyPath;
}

/**
 * Takes out the innermost list item around each path or, outside of lists, the field at the path. Undefined if
 * something would have to go that no document can be without.
 */
export function prune(value: unknown, paths: readonly PolicyPath[]): Pruned | undefined {
  const removed = new Map<string, { readonly at: PolicyPath; readonly steps: Set<string | number> }>();
  for (const path of paths) {
    const index = path.findLastIndex((step) => typeof step === "number");
    const end = index < 0 ? path.length - 1 : index;
    const step = path[end];
    if (step === undefined || end < 1) return undefined;
    const at = path.slice(0, end);
    const entry = removed.get(keyOf(at)) ?? { at, steps: new Set() };
    entry.steps.add(step);
    removed.set(keyOf(at), entry);
  }
  const copy = (part: unknown, at: PolicyPath): unknown => {
    const gone = removed.get(keyOf(at))?.steps ?? new Set();
    const inside = [...removed.values()].some((entry) => at.every((step, i) => entry.at[i] === step));
    if (!inside) return part;
    if (Array.isArray(part)) {
      return part.flatMap((item, i) => (gone.has(i) ? [] : [copy(item, [...at, i])]));
    }
    if (typeof part !== "object" || part === null) return part;
    const fields = Object.entries(part).filter(([name]) => !gone.has(name));
    return Object.fromEntries(fields.map(([name, item]) => [name, copy(item, [...at, name])]));
  };
  const original = (path: PolicyPath): PolicyPath => {
    const found: (string | number)[] = [];
    for (const step of path) found.push(typeof step === "number" ? moveDown(step, found) : step);
    return found;
  };
  const moveDown = (index: number, at: PolicyPath): number => {
    const gone = [...(removed.get(keyOf(at))?.steps ?? [])].filter((step) => typeof step === "number");
    return gone.sort((a, b) => a - b).reduce((moved, step) => (step <= moved ? moved + 1 : moved), index);
  };
  return { value: copy(value, []), original };
}

function keyOf(path: PolicyPath): string {
  return JSON.stringify(path);
}
