// Which documents and rules the reference model applies to one interface at one time, straight from the policy
// documents. Must not look at compiled tables, nor share code with what compiles them.
import { type Address, bug, compareText } from "../../base/index.ts";
import type {
  AddressSet,
  Conntrack,
  Firewall,
  FirewallRule,
  InterfaceGroup,
  NodeSelector,
  PortSet,
} from "../../policy/index.ts";

/** `reject` drops too, and answers the sender where that may be. */
export type Verdict = "pass" | "drop" | "reject";

/** What can be said of a frame that is not IP. */
export type NonIpVerdict = Exclude<Verdict, "reject">;

type Content<T extends { readonly metadata: unknown; readonly spec: unknown }> = Pick<T, "metadata" | "spec">;

/** Valid documents: `PolicySet.byKind` of each kind, or documents written out by hand. */
export interface ModelPolicy {
  readonly interfaceGroups: readonly Content<InterfaceGroup>[];
  readonly addressSets: readonly Content<AddressSet>[];
  readonly portSets: readonly Content<PortSet>[];
  readonly firewalls: readonly Content<Firewall>[];
}

export interface ModelInput {
  readonly policy: ModelPolicy;
  /** The host's labels, to leave out documents whose `nodes` do not select it. Absent: all documents count. */
  readonly nodeLabels?: Readonly<Record<string, string>>;
  /** The interface that packets arrive on. */
  readonly interfaceName: string;
  /** All interfaces that exist on the host. */
  readonly interfaces: readonly string[];
  /** The country of an address, for sets that name countries: as its database has it, not as it was compiled. */
  readonly countryOf?: (address: Address) => string | undefined;
  /** Milliseconds since the epoch: rules past their `expires` take no part. */
  readonly now: number;
}

/** A Firewall document in force on the interface, with the rules that are in force there. */
export interface BoundDocument {
  readonly name: string;
  readonly mode: "enforce" | "audit";
  readonly rules: readonly FirewallRule[];
  /** Of documents in audit mode: what they say of packets that none of their rules decides, reported only. */
  readonly auditedDefault: Verdict | undefined;
  readonly auditedNonIp: NonIpVerdict | undefined;
}

export interface Binding {
  /** In the order in which they are evaluated. */
  readonly documents: readonly BoundDocument[];
  readonly default: Verdict;
  readonly nonIp: NonIpVerdict;
}

/** What is in force on the interface, or nothing: then the firewall lets everything through unread. */
export function bindInterface(input: ModelInput): Binding | undefined {
  if (!input.interfaces.includes(input.interfaceName)) return undefined;
  const documents = input.policy.firewalls
    .filter((document) => isSelected(document, input) && appliesToInterface(document, input))
    .sort(
      (a, b) =>
        (a.spec.order ?? 100) - (b.spec.order ?? 100) || compareText(a.metadata.name, b.metadata.name),
    );
  if (documents.length === 0) return undefined;
  return {
    documents: documents.map(({ metadata, spec }) => ({
      name: metadata.name,
      mode: spec.mode ?? "enforce",
      rules: spec.rules.filter((rule) => isInForce(rule, input.now) && isForInterface(rule, input)),
      auditedDefault: spec.mode === "audit" ? spec.default : undefined,
      auditedNonIp: spec.mode === "audit" ? spec.nonIp : undefined,
    })),
    default: agreedVerdict<Verdict>(documents, ({ spec }) => spec.default),
    nonIp: agreedVerdict<NonIpVerdict>(documents, ({ spec }) => spec.nonIp),
  };
}

/** The Conntrack document that tracks connections on the interface; undefined if none does. */
export function findTracker(input: ModelInput, documents: readonly Content<Conntrack>[]): string | undefined {
  return documents.find((document) => isSelected(document, input) && appliesToInterface(document, input))
    ?.metadata.name;
}

/** The sets in force on the host, by their names: what is in them as it is written. */
export interface SetLookup {
  addresses(name: string): AddressSet["spec"];
  ports(name: string): PortSet["spec"];
  countryOf(address: Address): string | undefined;
}

/** Throws a `bug` when it is asked for a set that is not in force. */
export function lookUpSets(input: ModelInput): SetLookup {
  const find = <T extends Content<AddressSet | PortSet>>(sets: readonly T[], name: string): T["spec"] => {
    const set = sets.find((document) => document.metadata.name === name);
    if (set !== undefined && isSelected(set, input)) return set.spec;
    throw bug("Cannot judge by this policy: it names a set that is not there", { set: name });
  };
  return {
    addresses: (name) => find(input.policy.addressSets, name),
    ports: (name) => find(input.policy.portSets, name),
    countryOf(address) {
      if (input.countryOf !== undefined) return input.countryOf(address);
      throw bug("Cannot judge by this policy: it names countries, and no database is there");
    },
  };
}

function appliesToInterface(document: Content<Firewall | Conntrack>, input: ModelInput): boolean {
  return document.spec.interfaces.some((name) => holdsInterface(name, input));
}

function isForInterface(rule: FirewallRule, input: ModelInput): boolean {
  const given = rule.match?.interfaces;
  if (given === undefined) return true;
  const { groups, not = false } = "groups" in given ? given : { groups: given };
  return groups.some((name) => holdsInterface(name, input)) !== not;
}

function holdsInterface(name: string, input: ModelInput): boolean {
  // A group that does not select this host is not there, and its name means an interface like any other.
  const group = input.policy.interfaceGroups.find(
    (candidate) => candidate.metadata.name === name && isSelected(candidate, input),
  );
  if (group === undefined) return name === input.interfaceName;
  return group.spec.interfaces.some((pattern) => matchesPattern(pattern, input.interfaceName));
}

/** `*` stands for any characters, none included; the whole name must match. */
function matchesPattern(pattern: string, name: string): boolean {
  if (pattern === "") return name === "";
  if (pattern[0] !== "*") return pattern[0] === name[0] && matchesPattern(pattern.slice(1), name.slice(1));
  return matchesPattern(pattern.slice(1), name) || (name !== "" && matchesPattern(pattern, name.slice(1)));
}

function isSelected(
  document: { readonly spec: { readonly nodes?: NodeSelector } },
  input: ModelInput,
): boolean {
  const { nodeLabels } = input;
  if (nodeLabels === undefined || document.spec.nodes === undefined) return true;
  return Object.entries(document.spec.nodes.matchLabels).every(([name, value]) => nodeLabels[name] === value);
}

/** A day counts to its end in UTC; at an instant the rule is over. */
function isInForce(rule: FirewallRule, now: number): boolean {
  if (rule.expires === undefined) return true;
  const dayMs = 24 * 60 * 60 * 1000;
  const endMs = Date.parse(rule.expires) + (rule.expires.includes("T") ? 0 : dayMs);
  if (Number.isNaN(endMs)) {
    throw bug("Cannot judge by this policy: a rule expires at no time", { rule: rule.name });
  }
  return now < endMs;
}

function agreedVerdict<V extends Verdict>(
  documents: readonly Content<Firewall>[],
  statedBy: (document: Content<Firewall>) => V | undefined,
): V | "pass" {
  const stated = documents
    .filter(({ spec }) => spec.mode !== "audit")
    .flatMap((document) => statedBy(document) ?? []);
  if (new Set(stated).size > 1) {
    throw bug("Cannot judge by this policy: documents of one interface disagree", { stated });
  }
  return stated[0] ?? "pass";
}
