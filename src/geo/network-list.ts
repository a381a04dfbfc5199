// Networks in the order of their addresses, each with a label: packed, since there are a million of them, and as few as
// say the same: two halves with one label are one network.
import type { Family, Prefix } from "../base/index.ts";
import { damaged } from "./damage.ts";

/** Some ten times what the countries of the world need. */
const networksMax = 4 * 1024 * 1024;

export class NetworkList {
  readonly #family: Family;
  /** Bytes of an address. */
  readonly #size: number;
  #addresses: Uint8Array;
  #lengths: Uint8Array;
  #labels: Uint16Array;
  #count = 0;

  constructor(family: Family) {
    this.#family = family;
    this.#size = family === 4 ? 4 : 16;
    this.#addresses = new Uint8Array(this.#size * 1024);
    this.#lengths = new Uint8Array(1024);
    this.#labels = new Uint16Array(1024);
  }

  /** Adds a network that lies behind all others. Throws `geo-database-unusable` if there are too many. */
  add(bytes: Uint8Array, length: number, label: number): void {
    let first = bytes;
    let bits = length;
    while (this.#endsWithLeftHalfOf(first, bits, label)) {
      this.#count--;
      first = this.#addressAt(this.#count);
      bits--;
    }
    if (this.#count === networksMax) throw damaged("it has too many networks");
    if (this.#count === this.#lengths.length) this.#grow();
    // May be where `first` stands already.
    this.#addresses.set(first, this.#count * this.#size);
    this.#lengths[this.#count] = bits;
    this.#labels[this.#count++] = label;
  }

  /** The networks with one of the labels, as few as hold the same addresses. */
  select(labels: ReadonlySet<number>): NetworkList {
    const selected = new NetworkList(this.#family);
    for (let i = 0; i < this.#count; i++) {
      if (labels.has(this.#labels[i] ?? 0)) selected.add(this.#addressAt(i), this.#lengths[i] ?? 0, 0);
    }
    return selected;
  }

  *prefixes(): Iterable<Prefix> {
    for (let i = 0; i < this.#count; i++) {
      yield { family: this.#family, bytes: this.#addressAt(i), length: this.#lengths[i] ?? 0 };
    }
  }

  /** Whether the last network is the left half of what the given one is the right half of. */
  #endsWithLeftHalfOf(bytes: Uint8Array, length: number, label: number): boolean {
    const last = this.#count - 1;
    if (last < 0 || length === 0) return false;
    if (this.#lengths[last] !== length || this.#labels[last] !== label) return false;
    const at = last * this.#size;
    const bit = length - 1;
    for (let i = 0; i < this.#size; i++) {
      const differing = (this.#addresses[at + i] ?? 0) ^ (bytes[i] ?? 0);
      if (differing !== (i === bit >> 3 ? 0x80 >> (bit & 7) : 0)) return false;
    }
    return true;
  }

  #addressAt(i: number): Uint8Array {
    return this.#addresses.subarray(i * this.#size, (i + 1) * this.#size);
  }

  #grow(): void {
    const addresses = new Uint8Array(this.#addresses.length * 2);
    const lengths = new Uint8Array(this.#lengths.length * 2);
    const labels = new Uint16Array(this.#labels.length * 2);
    addresses.set(this.#addresses);
    lengths.set(this.#lengths);
    labels.set(this.#labels);
    [this.#addresses, this.#lengths, this.#labels] = [addresses, lengths, labels];
  }
}
