// Where TC programs stand on an interface. A program of ours that is attached takes its place among those of ours
// that are there; programs of others stay where they are, in front of it or behind it.
import { PenstockError } from "../base/index.ts";
import type { PinnedLink } from "./in-force.ts";
import { type TcDirection, type TcxPlace, tcxTypes } from "./link-tcx.ts";

/** Names of programs by hook, each list in the order in which its programs see a packet. */
export type TcChain = Readonly<Record<TcDirection, readonly string[]>>;

/**
 * The TC programs of the datapath. On its way in a packet meets what knows its connection first, then what changes
 * it, then what only looks at it; on its way out it is changed first, so that its connection is known as it is on the
 * wire, and what sends it to another interface comes last, since nobody behind would see it.
 */
export const tcChain: TcChain = {
  ingress: ["tc_conntrack_ingress", "tc_firewall_ingress"],
  egress: ["tc_conntrack_egress", "tc_firewall_egress"],
};

/** Programs of the same type that stand nowhere: user space runs them, over frames of its own. */
export const tcCommands = { adopt: "tc_conntrack_adopt", end: "tc_conntrack_end" } as const;

/** The hook of a program. Throws `tc-program-homeless` if the chain does not have it. */
export function directionOf(chain: TcChain, program: string): TcDirection {
  if (chain.ingress.includes(program)) return "ingress";
  if (chain.egress.includes(program)) return "egress";
  throw new PenstockError({
    code: "tc-program-homeless",
    disposition: "stalled",
    message: `Cannot attach ${program}: nothing says where it stands among the TC programs`,
    remedy: "Give it a line in src/bpf/tc-chain.ts",
  });
}

/**
 * The place of a program next to the link of another one on its hook; undefined if none is there. `find` gives the
 * link of a program on the interface.
 */
export function placeOf(
  chain: TcChain,
  program: string,
  find: (program: string) => PinnedLink | undefined,
): TcxPlace | undefined {
  const direction = directionOf(chain, program);
  const order = chain[direction];
  const here = order.indexOf(program);
  const idOfFirst = (names: readonly string[]) => {
    for (const name of names) {
      const info = find(name)?.info;
      if (info?.attachType === tcxTypes[direction]) return info.id;
    }
    return undefined;
  };
  const next = idOfFirst(order.slice(here + 1));
  if (next !== undefined) return { beside: next, side: "before" };
  const last = idOfFirst(order.slice(0, here).toReversed());
  return last === undefined ? undefined : { beside: last, side: "after" };
}
