// Ports and ranges of ports: from policy text to sorted ranges, and what those leave over.

/** Inclusive at both ends, host byte order. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export type PortsResult =
  | { readonly ok: true; readonly ranges: readonly PortRange[] }
  | { readonly ok: false; readonly index: number; readonly message: string };

/** Parses a port list; the result is sorted, disjoint and merged. */
export function parsePorts(list: readonly (number | string)[]): PortsResult {
  const ranges: PortRange[] = [];
  for (const [index, item] of list.entries()) {
    const [firstText = "", lastText] = String(item).split("-");
    const first = parsePort(firstText);
    const last = lastText === undefined ? first : parsePort(lastText);
    if (first === undefined || last === undefined) {
      return { ok: false, index, message: `"${item}" is not a port or a range of ports from 0 to 65535` };
    }
    if (first > last) {
      return { ok: false, index, message: `"${item}" runs backwards; write "${last}-${first}"` };
    }
    ranges.push({ first, last });
  }
  return { ok: true, ranges: mergeRanges(ranges) };
}

/** All ports that the ranges (sorted, disjoint) do not hold. */
export function invertRanges(ranges: readonly PortRange[]): PortRange[] {
  const inverted: PortRange[] = [];
  let next = 0;
  for (const { first, last } of ranges) {
    if (first > next) inverted.push({ first: next, last: first - 1 });
    next = last + 1;
  }
  if (next <= 65535) inverted.push({ first: next, last: 65535 });
  return inverted;
}

function parsePort(text: string): number | undefined {
  return /^(0|[1-9][0-9]{0,4})$/.test(text) && Number(text) <= 65535 ? Number(text) : undefined;
}

/** The same ports as sorted, disjoint ranges that do not touch. */
export function mergeRanges(ranges: readonly PortRange[]): PortRange[] {
  const merged: PortRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.first - b.first || a.last - b.last)) {
    const before = merged.at(-1);
    if (before !== undefined && range.first <= before.last + 1) {
      merged[merged.length - 1] = { first: before.first, last: Math.max(before.last, range.last) };
    } else {
      merged.push(range);
    }
  }
  return merged;
}
