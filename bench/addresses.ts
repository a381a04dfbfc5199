// The lists of addresses that benchmarks load and change: the same for the same numbers, sorted, as published lists
// are, and spread over the address space.

/** What lists hold: hosts alone, or hosts and among each eight of them one network of /24 to /31. */
export type ListStyle = "hosts" | "networks";

/** No two of them overlap: nftables' interval sets do not take what does. */
export function listAddresses(style: ListStyle, count: number): string[] {
  return Array.from({ length: count }, (_, i) => addressAt(style, i));
}

/** A list that changes. */
export class AddressList {
  readonly #style: ListStyle;
  #addresses: readonly string[];
  /** Addresses that were ever in it: none comes back. */
  #made: number;

  constructor(style: ListStyle, count: number) {
    this.#style = style;
    this.#addresses = listAddresses(style, count);
    this.#made = count;
  }

  get addresses(): readonly string[] {
    return this.#addresses;
  }

  /** So many addresses go or come: as many go, spread over the list, as come, but for the odd one, which comes. */
  change(changes: number): void {
    const going = Math.floor(changes / 2);
    const stride = Math.max(1, Math.floor(this.#addresses.length / Math.max(1, going)));
    const kept = this.#addresses.filter((_, i) => i % stride !== 0 || i / stride >= going);
    const coming = Array.from({ length: changes - going }, () => addressAt(this.#style, this.#made++));
    this.#addresses = [...kept, ...coming];
  }
}

/** Address or network `i` of all: each has a /24 of its own, from 1.0.0.0 on. */
function addressAt(style: ListStyle, i: number): string {
  const block = 0x10000 + i * 11;
  const network = `${block >> 16}.${(block >> 8) & 255}.${block & 255}`;
  if (style === "networks" && i % 8 === 0) return `${network}.0/${24 + ((i / 8) % 8)}`;
  return `${network}.${(i * 37) & 255}`;
}
