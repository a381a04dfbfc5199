// The memory of a rule index, as words of 4 bytes: the maps of bpf/lib/rule_index.h, or plain arrays of their size in
// which an index is made aside. A word is written in one store, so that a program reads what was there or what is.
import { bug } from "../base/index.ts";
import type { BpfMap } from "./map.ts";
import { mapArrayMemory } from "./map-memory.ts";

/** Words of 4 bytes in a line of a map, which is a cache line. */
export const lineWords = 16;

/** Entries of a chunk; INDEX_CHUNK_BITS of the C side. */
export const chunkBits = 6;

/** Classes of IPv6 prefixes. */
export interface PrefixClasses {
  readonly capacity: number;
  set(key: PrefixKey, number: number): void;
  remove(key: PrefixKey): void;
  entries(): Promise<readonly PrefixClass[]>;
}

export interface PrefixClass {
  readonly key: PrefixKey;
  readonly number: number;
}

export interface PrefixKey {
  /** 0 source, 1 destination. */
  readonly side: number;
  readonly length: number;
  /** Network byte order, 16 bytes. */
  readonly bytes: Uint8Array;
}

/** The parts of a rule index, each as the map of the same name has it. */
export interface IndexMemory {
  readonly roots: Uint32Array;
  readonly chunks: Uint32Array;
  readonly values: Uint32Array;
  readonly classes: Uint32Array;
  readonly rows: Uint32Array;
  readonly any: Uint32Array;
  readonly prefixes: PrefixClasses;
}

/** The parts that are arrays. */
export const indexArrays = ["roots", "chunks", "values", "classes", "rows", "any"] as const;

/** How many words each part has, and keys of IPv6. */
export type IndexSizes = Readonly<Record<(typeof indexArrays)[number] | "prefixes", number>>;

/** The sizes of the index in maps `<name>_roots` and so on, by how many entries each map has. */
export function sizesOfMaps(name: string, entriesOf: (map: string) => number): IndexSizes {
  const words = (part: string, each: number) => entriesOf(`${name}_${part}`) * each;
  return {
    roots: words("roots", lineWords),
    chunks: words("chunks", 1 << chunkBits),
    values: words("values", lineWords),
    classes: words("classes", lineWords),
    rows: words("rows", lineWords),
    any: words("any", lineWords),
    prefixes: words("v6", 1),
  };
}

/** An index that no program reads. */
export function plainMemory(sizes: IndexSizes): IndexMemory {
  const words = (part: (typeof indexArrays)[number]) => new Uint32Array(sizes[part]);
  return {
    roots: words("roots"),
    chunks: words("chunks"),
    values: words("values"),
    classes: words("classes"),
    rows: words("rows"),
    any: words("any"),
    prefixes: new PlainPrefixes(sizes.prefixes),
  };
}

export function sizesOfMemory(memory: IndexMemory): IndexSizes {
  const { roots, chunks, values, classes, rows, any, prefixes } = memory;
  return {
    roots: roots.length,
    chunks: chunks.length,
    values: values.length,
    classes: classes.length,
    rows: rows.length,
    any: any.length,
    prefixes: prefixes.capacity,
  };
}

/** The index in the maps `<name>_roots`, `<name>_chunks` and so on. `close` lets go of them. */
export function mappedMemory(
  name: string,
  source: { map(name: string): BpfMap },
): IndexMemory & { close(): void } {
  const close: (() => void)[] = [];
  const words = (part: (typeof indexArrays)[number]) => {
    const memory = mapArrayMemory(source.map(`${name}_${part}`));
    close.push(() => memory.close());
    return new Uint32Array(memory.bytes.buffer, 0, memory.bytes.length / 4);
  };
  return {
    roots: words("roots"),
    chunks: words("chunks"),
    values: words("values"),
    classes: words("classes"),
    rows: words("rows"),
    any: words("any"),
    prefixes: new TriePrefixes(source.map(`${name}_v6`)),
    close: () => {
      for (const part of close) part();
    },
  };
}

class PlainPrefixes implements PrefixClasses {
  readonly capacity: number;
  readonly #entries = new Map<string, PrefixClass>();

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  set(key: PrefixKey, number: number): void {
    this.#entries.set(nameOf(key), { key, number });
  }

  remove(key: PrefixKey): void {
    this.#entries.delete(nameOf(key));
  }

  async entries(): Promise<readonly PrefixClass[]> {
    return [...this.#entries.values()];
  }
}

function nameOf({ side, length, bytes }: PrefixKey): string {
  return `${side} ${length} ${Buffer.from(bytes).toString("hex")}`;
}

/** struct index_key_v6: the length of the prefix and the side count as bits of it. */
const sideBits = 32;
const addressOffset = 8;
const keyBytes = addressOffset + 16;

class TriePrefixes implements PrefixClasses {
  readonly capacity: number;
  readonly #map: BpfMap;

  constructor(map: BpfMap) {
    if (map.keyBytes !== keyBytes || map.valueBytes !== 4)
      throw bug(`Cannot use ${map.name}: it is no index of IPv6 prefixes`);
    this.capacity = map.entriesMax;
    this.#map = map;
  }

  set(key: PrefixKey, number: number): void {
    this.#map.update(packKey(key), new Uint8Array(Uint32Array.of(number).buffer));
  }

  remove(key: PrefixKey): void {
    this.#map.remove(packKey(key));
  }

  async entries(): Promise<readonly PrefixClass[]> {
    const { count, keys, values } = await this.#map.readAll();
    const view = new DataView(keys.buffer, keys.byteOffset, keys.byteLength);
    const numbers = new DataView(values.buffer, values.byteOffset, values.byteLength);
    return Array.from({ length: count }, (_, i) => {
      const at = i * keyBytes;
      const key = {
        length: view.getUint32(at, true) - sideBits,
        side: view.getUint32(at + 4, true),
        bytes: keys.slice(at + addressOffset, at + keyBytes),
      };
      return { key, number: numbers.getUint32(i * 4, true) };
    });
  }
}

function packKey({ side, length, bytes }: PrefixKey): Uint8Array {
  const packed = new Uint8Array(keyBytes);
  const view = new DataView(packed.buffer);
  view.setUint32(0, sideBits + length, true);
  view.setUint32(4, side, true);
  packed.set(bytes, addressOffset);
  return packed;
}
