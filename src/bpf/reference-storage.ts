// Maps of devices, processors and programs. What stands in them is a number that a versioned entry refers to by its
// key; a program is meant by its place in the list of the datapath's programs, and becomes a descriptor here.
import { bug } from "../base/index.ts";
import { MAP_TYPE } from "./constants.ts";
import type { BpfMap } from "./map.ts";
import type { BpfProgram } from "./program.ts";
import type { RawEntries, TableStorage } from "./table-storage.ts";

/** What stands for a program that is not one of ours. */
const unknownProgram = 0xffffffff;

export class ReferenceStorage implements TableStorage {
  readonly capacity: number;
  readonly #map: BpfMap;
  readonly #programs: readonly BpfProgram[];

  constructor(map: BpfMap, programs: readonly BpfProgram[]) {
    if (map.keyBytes !== 4 || map.valueBytes !== 4)
      throw bug(`Cannot use ${map.name}: references have keys and values of 4 bytes`);
    this.#map = map;
    this.#programs = programs;
    this.capacity = map.entriesMax;
  }

  async read(): Promise<RawEntries> {
    const keys: number[] = [];
    const key = new Uint32Array(1);
    for (key[0] = 0; key[0] < this.capacity; key[0]++) {
      if (this.#map.lookup(bytesOf(key)) !== undefined) keys.push(key[0]);
    }
    const packed = bytesOf(Uint32Array.from(keys));
    return { count: keys.length, keys: packed, values: await this.lookup(packed) };
  }

  async lookup(keys: Uint8Array): Promise<Uint8Array> {
    const values = new Uint8Array(keys.length);
    const view = new DataView(values.buffer);
    for (let at = 0; at < keys.length; at += 4) {
      const value = this.#map.lookup(keys.subarray(at, at + 4));
      if (value !== undefined) view.setUint32(at, this.#numberOf(value), true);
    }
    return values;
  }

  async write(keys: Uint8Array, values: Uint8Array): Promise<void> {
    for (let at = 0; at < keys.length; at += 4) {
      this.#map.update(keys.subarray(at, at + 4), this.#valueOf(values.subarray(at, at + 4)));
    }
  }

  async remove(keys: Uint8Array): Promise<void> {
    await this.#map.removeAll(keys);
  }

  close(): void {}

  #numberOf(value: Uint8Array): number {
    const number = viewOf(value).getUint32(0, true);
    if (this.#map.type !== MAP_TYPE.programArray) return number;
    const place = this.#programs.findIndex((program) => program.info().id === number);
    return place < 0 ? unknownProgram : place;
  }

  #valueOf(value: Uint8Array): Uint8Array {
    if (this.#map.type !== MAP_TYPE.programArray) return value;
    const program = this.#programs[viewOf(value).getUint32(0, true)];
    if (program === undefined) throw bug(`Cannot write ${this.#map.name}: there is no such program`);
    return bytesOf(Uint32Array.of(program.fd));
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer);
}
