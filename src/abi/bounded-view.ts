// Little-endian reads that cannot leave their bytes: what the readers of object files stand on. Every read that
// would is an error made by the caller's `fail`, so that a hostile file gets the same words as a broken one.
import type { PenstockError } from "../base/index.ts";

/** No name in a kernel object is longer; the bound keeps a hostile string table from costing memory. */
const nameBytesMax = 512;

const decoder = new TextDecoder("utf-8");

export class BoundedView {
  readonly bytes: Uint8Array;
  readonly fail: (problem: string) => PenstockError;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, fail: (problem: string) => PenstockError) {
    this.bytes = bytes;
    this.fail = fail;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(at: number): number {
    this.#check(at, 1);
    return this.#view.getUint8(at);
  }

  u16(at: number): number {
    this.#check(at, 2);
    return this.#view.getUint16(at, true);
  }

  u32(at: number): number {
    this.#check(at, 4);
    return this.#view.getUint32(at, true);
  }

  i32(at: number): number {
    this.#check(at, 4);
    return this.#view.getInt32(at, true);
  }

  u64(at: number): bigint {
    this.#check(at, 8);
    return this.#view.getBigUint64(at, true);
  }

  /** An offset or a length of a file: a number above 2^53 could not be one. */
  size64(at: number): number {
    const value = this.u64(at);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.fail(`it names an offset or a size of ${value}`);
    return Number(value);
  }

  /** A view of `length` bytes, not a copy. */
  slice(at: number, length: number): Uint8Array {
    this.#check(at, length);
    return this.bytes.subarray(at, at + length);
  }

  /** The text from `at` to the next zero byte. */
  text(at: number): string {
    this.#check(at, 1);
    const end = this.bytes.subarray(at, at + nameBytesMax + 1).indexOf(0);
    if (end < 0) throw this.fail(`a name at byte ${at} does not end within ${nameBytesMax} bytes`);
    return decoder.decode(this.bytes.subarray(at, at + end));
  }

  #check(at: number, length: number): void {
    if (at < 0 || length < 0 || at + length > this.bytes.byteLength) {
      throw this.fail(`bytes ${at} to ${at + length} lie outside of its ${this.bytes.byteLength} bytes`);
    }
  }
}
