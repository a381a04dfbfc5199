// Prefixes of one address family in a tree: which one lies in which. Nodes without slots are only forks.

export interface Prefix {
  /** Network byte order; bits behind the prefix are zero. */
  readonly bytes: Uint8Array;
  readonly length: number;
}

export interface PrefixNode extends Prefix {
  parent: PrefixNode | undefined;
  readonly below: [PrefixNode | undefined, PrefixNode | undefined];
  /** Slots whose records name this very prefix; a slot may be there more than once. */
  readonly slots: number[];
  /** Those of them whose records say nothing about the other address. */
  readonly wide: number[];
  /** The class of addresses that no longer prefix holds; 0 for none. */
  number: number;
  /** Whether packets can meet the class. */
  isPainted: boolean;
}

export class PrefixTree {
  readonly root: PrefixNode = makeNode({ bytes: new Uint8Array(16), length: 0 }, undefined);

  /** The node of a prefix, made if there is none. */
  enter(prefix: Prefix): PrefixNode {
    let node = this.root;
    for (;;) {
      if (node.length === prefix.length) return node;
      const bit = bitAt(prefix.bytes, node.length);
      const next = node.below[bit];
      if (next === undefined) return this.#hang(prefix, node);
      const common = commonLength(prefix, next);
      if (common < next.length) {
        const fork =
          common === prefix.length ? makeNode(prefix, node) : makeNode(cutTo(prefix, common), node);
        node.below[bit] = fork;
        fork.below[bitAt(next.bytes, common)] = next;
        next.parent = fork;
        return common === prefix.length ? fork : this.#hang(prefix, fork);
      }
      node = next;
    }
  }

  find(prefix: Prefix): PrefixNode | undefined {
    let node: PrefixNode | undefined = this.root;
    while (node !== undefined && node.length < prefix.length) {
      node = node.below[bitAt(prefix.bytes, node.length)];
      if (node !== undefined && commonLength(prefix, node) < node.length) return undefined;
    }
    return node;
  }

  /** Takes out a node that has no slots, and the fork above it if that is none any more. */
  drop(node: PrefixNode): void {
    const { parent } = node;
    if (parent === undefined || node.slots.length > 0 || node.number !== 0) return;
    const [low, high] = node.below;
    if (low !== undefined && high !== undefined) return;
    const heir = low ?? high;
    const side = parent.below[0] === node ? 0 : 1;
    if (parent.below[side] !== node) return;
    parent.below[side] = heir;
    if (heir !== undefined) heir.parent = parent;
    else this.drop(parent);
  }

  #hang(prefix: Prefix, parent: PrefixNode): PrefixNode {
    const node = makeNode(prefix, parent);
    parent.below[bitAt(prefix.bytes, parent.length)] = node;
    return node;
  }
}

/** The nearest node above that `wanted` holds for. */
export function above(node: PrefixNode, wanted: (node: PrefixNode) => boolean): PrefixNode | undefined {
  let at = node.parent;
  while (at !== undefined && !wanted(at)) at = at.parent;
  return at;
}

function makeNode({ bytes, length }: Prefix, parent: PrefixNode | undefined): PrefixNode {
  return {
    bytes,
    length,
    parent,
    below: [undefined, undefined],
    slots: [],
    wide: [],
    number: 0,
    isPainted: false,
  };
}

/** The first bits of a prefix, and nothing behind them. */
function cutTo({ bytes }: Prefix, length: number): Prefix {
  const cut = bytes.slice();
  const last = length >> 3;
  if (last < cut.length) cut[last] = (cut[last] ?? 0) & (0xff00 >> (length & 7));
  return { bytes: cut.fill(0, last + 1), length };
}

export function bitAt(bytes: Uint8Array, at: number): 0 | 1 {
  return (((bytes[at >> 3] ?? 0) >> (7 - (at & 7))) & 1) as 0 | 1;
}

/** How many bits both prefixes begin with. */
function commonLength(a: Prefix, b: Prefix): number {
  const most = Math.min(a.length, b.length);
  for (let at = 0; at < most; at += 8) {
    const differs = (a.bytes[at >> 3] ?? 0) ^ (b.bytes[at >> 3] ?? 0);
    if (differs !== 0) return Math.min(most, at + Math.clz32(differs) - 24);
  }
  return most;
}
