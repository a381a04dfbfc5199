// Two policies that differ in everything that a transaction can change, chosen by a seed: rules come, go, change and
// move; sets come, go and change, with prefixes inside of each other; interfaces are bound and let go; connections are
// tracked with other timeouts and elsewhere; routes come and go; what goes frees ids for what comes.
import type { AddressSet, Conntrack, Firewall, FirewallRule } from "../src/policy/index.ts";
import type { Random } from "./random.ts";

/** Interfaces of the host: under both policies, under the old one, under the new one. */
export const interfaceNames = { both: "both", old: "old", new: "new" } as const;

const apiVersion = "penstock/v1";
const ports = [22, 53, 80, 443, 3306, 5432, 8080, "1000-1999", "8000-8999", "60000-65535"] as const;

/** Files of both policies, by path. */
export interface PolicyPair {
  readonly old: Readonly<Record<string, string>>;
  readonly new: Readonly<Record<string, string>>;
}

export function choosePolicies(random: Random): PolicyPair {
  const names = random.shuffle(Array.from({ length: 18 }, (_, i) => `rule-${i}`));
  const kept = names.slice(0, 8);
  const rules = (own: readonly string[], set: string) =>
    random.shuffle([...kept, ...own]).map((name) => chooseRule(random, name, ["office", set]));
  const side = (side: "old" | "new", own: readonly string[]) => {
    const set = `set-${side}`;
    return filesOf([
      addressSet("office", nested(random)),
      addressSet(set, nested(random)),
      conntrack(`track-${random.below(2)}`, [interfaceNames.both, interfaceNames[side]], random),
      firewall("edge", [interfaceNames.both], rules(own, set)),
      firewall(`inner-${side}`, [interfaceNames[side]], rules(own.slice(0, 2), set)),
    ]);
  };
  return { old: side("old", names.slice(8, 13)), new: side("new", names.slice(13)) };
}

/** Prefixes of both families, most of them inside of another one. */
function nested(random: Random): string[] {
  const byte = () => random.below(4);
  const prefixes = [
    `${10 + byte()}.0.0.0/8`,
    ...Array.from({ length: 3 }, () => `${10 + byte()}.${byte()}.0.0/16`),
    ...Array.from({ length: 4 }, () => `${10 + byte()}.${byte()}.${byte()}.0/24`),
    ...Array.from({ length: 4 }, () => `${10 + byte()}.${byte()}.${byte()}.${byte()}`),
    "2001:db8::/32",
    ...Array.from({ length: 3 }, () => `2001:db8:${1 + byte()}::/48`),
    ...Array.from({ length: 3 }, () => `2001:db8:${1 + byte()}::${1 + byte()}`),
  ];
  return [...new Set(prefixes)];
}

function chooseRule(random: Random, name: string, sets: readonly string[]): FirewallRule {
  const action = random.below(2) === 0 ? "pass" : "drop";
  const source = { sets: random.take(sets, 1 + random.below(2)), not: random.below(3) === 0 };
  const destinationPorts = random.take(ports, 1 + random.below(3));
  const protocol = random.below(2) === 0 ? "tcp" : "udp";
  const match = { source, protocol, destinationPorts } as const;
  return { name, action, match, ...(action === "pass" && chooseActions(random)) };
}

/** Where packets go, and how many connections there may be. */
function chooseActions(random: Random): Partial<FirewallRule> {
  const ways = Object.values(interfaceNames);
  const way = () => ({ interface: ways[random.below(ways.length)] ?? interfaceNames.both });
  const nextHop = [`192.0.2.${1 + random.below(3)}`];
  return {
    ...(random.below(3) === 0 && { routeTo: { ...way(), nextHop } }),
    ...(random.below(4) === 0 && { dupTo: way() }),
    ...(random.below(3) === 0 && { limits: { connectionsPerSource: 1 + random.below(9) } }),
  };
}

function conntrack(name: string, interfaces: readonly string[], random: Random): Conntrack {
  const timeouts = { udp: { new: `${10 + random.below(50)}s` } };
  return { apiVersion, kind: "Conntrack", metadata: { name }, spec: { interfaces, timeouts } };
}

function addressSet(name: string, prefixes: readonly string[]): AddressSet {
  return { apiVersion, kind: "AddressSet", metadata: { name }, spec: { prefixes } };
}

function firewall(name: string, interfaces: readonly string[], rules: readonly FirewallRule[]): Firewall {
  return { apiVersion, kind: "Firewall", metadata: { name }, spec: { interfaces, rules } };
}

function filesOf(documents: readonly (AddressSet | Conntrack | Firewall)[]): Record<string, string> {
  return Object.fromEntries(
    documents.map((document) => [`policies/${document.metadata.name}.json`, JSON.stringify(document)]),
  );
}
