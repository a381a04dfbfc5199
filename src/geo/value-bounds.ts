// Looks at a value of a MaxMind file before mmdb-lib decodes it: its decoder follows pointers without a limit, so that a
// file of a kilobyte can make it build values of gigabytes, or run in circles. Takes the same steps and counts them.
import { damaged } from "./damage.ts";

/** Where values stand in a file; all offsets count from its first byte. */
export interface ValueSection {
  readonly content: Uint8Array;
  /** What pointers are relative to. */
  readonly base: number;
  /** Behind the last byte that belongs to values. */
  readonly end: number;
}

/** Lists, mappings and pointers inside each other; the databases in use have six. */
const depthMax = 32;
/** Parts that one value may decode to, long texts counted by their length; those of city databases have some 100. */
const partsMax = 64 * 1024;
/** The same of all values that are looked at, each counted with this many at least. */
const totalMax = 64 * 1024 * 1024;
const partsMin = 16;
/** Bytes of text that count as one part more. */
const partBytes = 16;

// Control bytes: https://maxmind.github.io/MaxMind-DB/, "Data Field Format".
const extendedType = 0;
const pointerType = 1;
const mapType = 7;
const arrayType = 11;
const booleanType = 14;

/** Measures values of one section, within a budget for all of them together. */
export class ValueBounds {
  readonly #section: ValueSection;
  #left = 0;
  #total = totalMax;

  constructor(section: ValueSection) {
    this.#section = section;
  }

  /** Throws `geo-database-unusable` if decoding the value at `at` would take too much or leave the section. */
  check(at: number): void {
    const allowed = Math.min(partsMax, this.#total);
    this.#left = allowed;
    this.#skip(at, 0);
    this.#total -= Math.max(partsMin, allowed - this.#left);
  }

  /** Goes over one value and returns where it ends. */
  #skip(at: number, depth: number): number {
    if (depth > depthMax) throw damaged("its values are nested too deep");
    this.#spend(1);
    const control = this.#byte(at++);
    let type = control >> 5;
    if (type === pointerType) return this.#follow(control, at, depth);
    if (type === extendedType) type = this.#byte(at++) + 7;
    let size = control & 0x1f;
    if (size > 28) {
      const bytes = size - 28;
      size = this.#number(at, bytes) + (sizeBases[bytes] ?? 0);
      at += bytes;
    }
    if (type === mapType || type === arrayType) {
      const parts = type === mapType ? size * 2 : size;
      for (let i = 0; i < parts; i++) at = this.#skip(at, depth + 1);
      return at;
    }
    // A boolean is its own size.
    if (type === booleanType) return at;
    this.#spend(Math.floor(size / partBytes));
    if (at + size > this.#section.end) throw outside();
    return at + size;
  }

  #follow(control: number, at: number, depth: number): number {
    const bytes = ((control >> 3) & 3) + 1;
    const high = bytes === 4 ? 0 : (control & 7) * 2 ** (bytes * 8);
    this.#skip(this.#section.base + high + this.#number(at, bytes) + (pointerBases[bytes] ?? 0), depth + 1);
    return at + bytes;
  }

  #number(at: number, bytes: number): number {
    let value = 0;
    for (let i = 0; i < bytes; i++) value = value * 256 + this.#byte(at + i);
    return value;
  }

  #byte(at: number): number {
    const { content, base, end } = this.#section;
    if (at < base || at >= end) throw outside();
    return content[at] ?? 0;
  }

  #spend(amount: number): void {
    this.#left -= amount;
    if (this.#left < 0) throw damaged("its values are too large");
  }
}

/** What is added to a size that takes so many bytes more. */
const sizeBases: readonly number[] = [0, 29, 285, 65_821];
/** What is added to a pointer of so many bytes. */
const pointerBases: readonly number[] = [0, 0, 2048, 526_336, 0];

function outside() {
  return damaged("a value lies outside of its data");
}
