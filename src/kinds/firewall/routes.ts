// What rules say about where packets go: routeTo, replyTo and dupTo become slots of the table of routes. Rules that
// name the same way share a slot, and a way keeps its slot over commits.
import { FwRouteFlag, FwRouteKind, fwReplyRouteCodec, fwRouteCodec } from "../../abi/index.ts";
import { type Address, formatAddress, parseAddress } from "../../base/index.ts";
import type { CompileContext, Origin } from "../../compile/index.ts";
import type { FirewallNextHop, FirewallRule } from "../../policy/index.ts";
import { deviceTable, replyProgram, replyRouteTable, routeTable } from "./tables.ts";

/** The fields of a rule's record that name routes; 0 for none. */
export interface RouteSlots {
  readonly routeTo: number;
  readonly replyTo: number;
  readonly mirrorTo: number;
}

/** What a rule says in one of its fields. */
type Given = NonNullable<FirewallRule["routeTo"]>;

const fields = ["routeTo", "replyTo", "dupTo"] as const;
type Field = (typeof fields)[number];

/** Gives slots to the routes of all documents of one compilation. */
export class RouteCompiler {
  readonly #context: CompileContext;
  readonly #entered = new Set<string>();

  constructor(context: CompileContext) {
    this.#context = context;
  }

  /** The slots of one rule's routes; what is wrong with them is reported. */
  compile(rule: FirewallRule, at: Origin, ruleId: number): RouteSlots {
    const slotOf = (field: Field) => {
      const place = { ...at, path: [...at.path, field] };
      return rule[field] === undefined ? 0 : this.#slot(field, rule, place);
    };
    const replyTo = slotOf("replyTo");
    if (rule.replyTo !== undefined) this.#watchReplies();
    if (replyTo !== 0 && ruleId !== 0) {
      const payload = fwReplyRouteCodec.encode({ route: replyTo });
      this.#context.table(replyRouteTable).add(wordOf(ruleId), payload, this.#context.origin(at));
    }
    return { routeTo: slotOf("routeTo"), replyTo, mirrorTo: slotOf("dupTo") };
  }

  /** This host's answers leave where its own routes say, on whichever interface that is. */
  #watchReplies(): void {
    if (!this.#isNew("replies")) return;
    for (const { spec } of this.#context.policy.byKind("Conntrack")) {
      for (const name of spec.interfaces) this.#context.groups.use(name, replyProgram);
    }
  }

  #slot(field: Field, rule: FirewallRule, at: Origin): number {
    const given: Given = rule[field] ?? { interface: "" };
    if (rule.action !== "pass") {
      const message = `only packets that pass go anywhere; write "action: pass", or leave ${field} out`;
      this.#context.report(at, "error", "route-needs-pass", message);
    }
    const nextHops = this.#nextHops(given.nextHop, at);
    this.#warnOfOtherFamily(rule, nextHops, at);
    const isMirror = field === "dupTo";
    const addresses = nextHops.map(formatAddress);
    const words = [isMirror ? "copy" : "", given.interface, ...addresses, given.fast === true ? "fast" : ""];
    const name = words.filter((word) => word !== "").join(" ");
    const slot = this.#context.id("route", name, at);
    if (slot === 0 || !this.#isNew(`route ${slot}`)) return slot;
    const payload = this.#encode(given, { isMirror, nextHops, at });
    this.#context.table(routeTable).add(wordOf(slot), payload, this.#context.origin(at));
    return slot;
  }

  #encode(
    given: Given,
    way: { readonly isMirror: boolean; readonly nextHops: readonly Address[]; readonly at: Origin },
  ): Uint8Array {
    const { isMirror, nextHops, at } = way;
    const found = this.#context.groups.interfaceNamed(given.interface);
    if (found === undefined) this.#reportMissing(given.interface, at);
    const bytesOf = (family: 4 | 6) => nextHops.find((hop) => hop.family === family)?.bytes;
    const isFast = given.fast === true && found !== undefined;
    const kind = found === undefined ? "missing" : isMirror ? "mirror" : "via";
    return fwRouteCodec.encode({
      nextHopV4: bytesOf(4) ?? new Uint8Array(4),
      nextHopV6: bytesOf(6) ?? new Uint8Array(16),
      ifindex: found?.index ?? 0,
      device: isFast ? this.#device(found.name, found.index, at) : 0,
      kind: FwRouteKind[kind],
      flags:
        (bytesOf(4) === undefined ? 0 : FwRouteFlag["next-hop-v4"]) |
        (bytesOf(6) === undefined ? 0 : FwRouteFlag["next-hop-v6"]) |
        (isFast ? FwRouteFlag.fast : 0),
    });
  }

  /** An interface that comes back under its name is another device: a key never changes its meaning. */
  #device(name: string, index: number, at: Origin): number {
    const id = this.#context.id("device", `${name}#${index}`, at);
    if (id !== 0 && this.#isNew(`device ${id}`)) {
      this.#context.table(deviceTable).add(wordOf(id), wordOf(index), this.#context.origin(at));
    }
    return id;
  }

  #nextHops(given: FirewallNextHop | undefined, at: Origin): Address[] {
    const isList = typeof given !== "string";
    const texts = isList ? (given ?? []) : [given];
    const hops: Address[] = [];
    texts.forEach((text, i) => {
      const place = { ...at, path: [...at.path, "nextHop", ...(isList ? [i] : [])] };
      const parsed = parseAddress(text);
      if (!parsed.ok) {
        this.#context.report(place, "error", parsed.code, parsed.message);
      } else if (hops.some((hop) => hop.family === parsed.value.family)) {
        const message = `there is a next hop of IPv${parsed.value.family} already; name one of each family at most`;
        this.#context.report(place, "error", "second-next-hop", message);
      } else hops.push(parsed.value);
    });
    return hops.sort((a, b) => a.family - b.family);
  }

  #warnOfOtherFamily(rule: FirewallRule, nextHops: readonly Address[], at: Origin): void {
    const [only] = nextHops;
    if (only === undefined || nextHops.length > 1 || rule.match?.family === `ipv${only.family}`) return;
    const other = only.family === 4 ? 6 : 4;
    const message = `IPv${other} packets that "${rule.name}" matches have no next hop and are dropped; name one, or write "family: ipv${only.family}" in its match`;
    this.#context.report(at, "warning", "route-for-one-family", message);
  }

  /** An interface may appear later, so this is no error; but until then nothing leaves. */
  #reportMissing(name: string, at: Origin): void {
    const { groups, policy } = this.#context;
    if (!groups.knowsHost) return;
    const hint = policy.byKind("InterfaceGroup").some((document) => document.name === name)
      ? "routes name an interface, not an InterfaceGroup"
      : "until it appears nothing can leave by it";
    const message = `this host has no interface "${name}"; ${hint}`;
    this.#context.report({ ...at, path: [...at.path, "interface"] }, "warning", "unknown-interface", message);
  }

  #isNew(entry: string): boolean {
    if (this.#entered.has(entry)) return false;
    this.#entered.add(entry);
    return true;
  }
}

function wordOf(number: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, number, true);
  return bytes;
}
