// What of an index's memory is in use, found from the entries that packets begin at; and how memory is copied that
// packets are reading.
import { bug } from "../base/index.ts";
import { wordsAt } from "./class-rows.ts";
import { chunkBits, type IndexMemory, lineWords, type PrefixClass } from "./index-memory.ts";
import { units } from "./slot-counts.ts";

/** Classes, lines of rows and chunks that entries lead to, each in rising order. */
export interface IndexParts {
  readonly numbers: readonly number[];
  readonly lines: readonly number[];
  readonly chunks: readonly number[];
}

const isChunk = 0x80000000;

/** Words of 64 slots that are one bit of a summary; what memory is made for says how many. */
export function unitWordsOf({ any }: Pick<IndexMemory, "any">): number {
  const words = Math.floor(any.length / lineWords) - units / 64;
  const unitWords = words / units;
  if (![1, 2, 4].includes(unitWords)) throw bug(`Cannot index slots in ${words} words`);
  return unitWords;
}

/** The parts in use; `prefixes` are those of the memory. Bears memory that somebody else wrote. */
export function partsOf(memory: IndexMemory, prefixes: readonly PrefixClass[]): IndexParts {
  const { classes, rows, roots, chunks, values } = memory;
  const numbers = new Set<number>(prefixes.map(({ number }) => number));
  const found = new Set<number>();
  const collect = (words: Uint32Array, from: number, to: number) => {
    for (let i = from; i < to; i++) {
      const entry = words[i] ?? 0;
      if (entry === 0) continue;
      const chunk = entry - isChunk;
      if (chunk < 0) numbers.add(entry);
      else if (!found.has(chunk)) {
        found.add(chunk);
        collect(chunks, chunk << chunkBits, Math.min(chunks.length, (chunk + 1) << chunkBits));
      }
    }
  };
  collect(roots, 0, roots.length);
  collect(values, 0, values.length);
  numbers.delete(0);
  const lines = new Set<number>();
  const unitWords = unitWordsOf(memory);
  for (const number of numbers) {
    const line = classes[number] ?? 0;
    const count = line === 0 ? 0 : countLines(rows, line, unitWords);
    for (let i = line; i < line + count; i++) lines.add(i);
  }
  const rising = (set: Set<number>) => [...set].sort((a, b) => a - b);
  return { numbers: rising(numbers), lines: rising(lines), chunks: rising(found) };
}

/** Lines of the row that begins at `line`, by its own summary. */
function countLines(rows: Uint32Array, line: number, unitWords: number): number {
  let count = 0;
  for (let i = 0; i < units / 32; i++)
    for (let word = rows[line * lineWords + i] ?? 0; word !== 0; word &= word - 1) count++;
  return Math.ceil((wordsAt + count * unitWords * 2) / lineWords);
}

/** Copies parts of `size` words each. */
export function copyRuns(
  from: Uint32Array,
  to: Uint32Array,
  { starts, size }: { readonly starts: readonly number[]; readonly size: number },
): void {
  for (const start of starts) to.set(from.subarray(start * size, (start + 1) * size), start * size);
}

/** Copies what differs, each word in one store. */
export function copyChanged(from: Uint32Array, to: Uint32Array): void {
  for (let i = 0; i < from.length; i++) if (from[i] !== to[i]) Atomics.store(to, i, from[i] ?? 0);
}

/** Adds the bits of `from`. */
export function orInto(from: Uint32Array, to: Uint32Array): void {
  for (let i = 0; i < from.length; i++) {
    const both = ((to[i] ?? 0) | (from[i] ?? 0)) >>> 0;
    if (both !== to[i]) Atomics.store(to, i, both);
  }
}
