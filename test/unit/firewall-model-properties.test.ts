// The firewall's reference model against the bare definition of first match, written here a second time and in other
// words: all rules at once, ranked, with the platform's own address lists. Also that the arbitrary policies, on
// which other tests stand, are valid and meet all there is to meet.
import { BlockList } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fwReasonNames } from "../../src/abi/index.ts";
import { dissect, type IpPacket } from "../../src/base/index.ts";
import { formatAddress, parsePrefix } from "../../src/base/prefix.ts";
import { prepareModel } from "../../src/kinds/firewall/model.ts";
import {
  type Firewall,
  type FirewallEndpoint,
  type FirewallMacs,
  type FirewallMatch,
  type FirewallPortChoice,
  type FirewallPorts,
  type FirewallRule,
  type FirewallVlan,
  parsePolicy,
} from "../../src/policy/index.ts";
import {
  arbitraryInterface,
  arbitraryPolicy,
  type PolicyDocuments,
  policyNow,
  pooledInterfaces,
} from "../fixtures/firewall-arbitraries.ts";
import { arbitraryFrame } from "../fixtures/packet-arbitraries.ts";
import { concat } from "../fixtures/packets.ts";

const arbitraryFrames = fc.array(arbitraryFrame, { minLength: 10, maxLength: 40 });
const model = (policy: PolicyDocuments, interfaceName: string) =>
  prepareModel({ policy, interfaceName, interfaces: pooledInterfaces, now: policyNow });

// ---- The bare definition

function namesInterface(names: readonly string[], interfaceName: string, policy: PolicyDocuments): boolean {
  const groups = new Map(policy.interfaceGroups.map((group) => [group.metadata.name, group.spec.interfaces]));
  return names.some((name) =>
    (groups.get(name) ?? [name]).some((pattern) =>
      new RegExp(`^${pattern.split("*").join("[^/]*")}$`).test(interfaceName),
    ),
  );
}

function holds(endpoint: FirewallEndpoint | undefined, bytes: Uint8Array, policy: PolicyDocuments): boolean {
  if (endpoint === undefined) return true;
  const family = bytes.length === 4 ? "ipv4" : "ipv6";
  const list = new BlockList();
  const members = policy.addressSets
    .filter((set) => endpoint.sets?.includes(set.metadata.name))
    .flatMap((set) => set.spec.prefixes ?? []);
  for (const text of [...members, ...(endpoint.prefixes ?? [])]) {
    if (text.includes(":") !== (family === "ipv6")) continue;
    const [address = "", length = family === "ipv4" ? "32" : "128"] = text.split("/");
    // The platform's lists know no prefix of length 0.
    if (length === "0") return !(endpoint.not ?? false);
    list.addSubnet(address, Number(length), family);
  }
  const held = list.check(formatAddress({ family: family === "ipv4" ? 4 : 6, bytes }), family);
  return endpoint.not ? !held : held;
}

function allows(
  packet: IpPacket,
  port: number | undefined,
  ports: FirewallPorts | undefined,
  policy: PolicyDocuments,
): boolean {
  if (ports === undefined) return true;
  if (![6, 17].includes(packet.protocol) || packet.laterFragment) return false;
  const { ports: own = [], sets = [], not = false }: FirewallPortChoice = "map" in ports ? { ports } : ports;
  const named = policy.portSets.filter((set) => sets.includes(set.metadata.name));
  const items = [...own, ...named.flatMap((set) => set.spec.ports)];
  const held = items.some((item) => {
    const [low = Number.NaN, high = low] = `${item}`.split("-").map(Number);
    // The port is the middle one of the three.
    return [low, port!, high].sort((x, y) => x - y)[1] === port;
  });
  return held !== not;
}

const bitsOf = (text: string) =>
  text
    .split(",")
    .map((flag) => 1 << "fin,syn,rst,psh,ack,urg,ece,cwr,all,none".split(",").indexOf(flag))
    .reduce((sum, bit) => sum | (bit === 256 ? 255 : bit & 255), 0);

const dscps: Record<string, number> = { cs0: 0, cs1: 8, cs7: 56, af11: 10, af43: 38, ef: 46, le: 1 };

/** Type numbers of the two families. */
const icmpTypes: Record<string, readonly [number, number]> = {
  "echo-request": [8, 128],
  "destination-unreachable": [3, 1],
  "time-exceeded": [11, 3],
  redirect: [5, 137],
  "timestamp-request": [13, -1],
  "packet-too-big": [-1, 2],
  "neighbor-solicitation": [-1, 135],
};

function fitsTransport({ tcpFlags, icmp }: FirewallMatch, packet: IpPacket): boolean {
  if (tcpFlags !== undefined) {
    const [value = "", mask = value] = tcpFlags.split("/");
    // Only TCP has flags, and a later fragment has none.
    if (packet.tcpFlags === undefined || (packet.tcpFlags & bitsOf(mask)) !== bitsOf(value)) return false;
  }
  if (icmp === undefined) return true;
  return icmp.some((item) => {
    const { type, code = packet.icmpCode } = typeof item === "object" ? item : { type: item };
    const number = typeof type === "number" ? type : icmpTypes[type]?.[packet.family === 4 ? 0 : 1];
    return packet.icmpType !== undefined && number === packet.icmpType && code === packet.icmpCode;
  });
}

function fitsPacket(match: FirewallMatch, packet: IpPacket): boolean {
  const [low = 0, high = low] = `${match.length ?? "0-99999"}`.split("-").map(Number);
  const states = [match.state ?? "new"].flat();
  const dscp = [match.dscp ?? packet.dscp].flat().map((item) => dscps[item] ?? item);
  const kinds = packet.laterFragment ? ["later", "any"] : packet.fragment ? ["first", "any"] : ["none"];
  return (
    states.includes("new") &&
    dscp.includes(packet.dscp) &&
    low <= packet.l3Length &&
    packet.l3Length <= high &&
    (match.fragment === undefined || kinds.includes(match.fragment))
  );
}

function fitsLink(match: FirewallMatch, packet: IpPacket): boolean {
  const { vlan = {} } = match;
  const asked = typeof vlan === "object" ? vlan : { outer: vlan };
  const fits = (word: FirewallVlan | undefined, tag: { readonly vid: number } | undefined) =>
    word === undefined || (tag === undefined ? ["none"] : ["any", tag.vid]).includes(word);
  const isOne = (macs: FirewallMacs | undefined, bytes: Uint8Array) => {
    if (macs === undefined) return true;
    const { macs: list, not = false } = "macs" in macs ? macs : { macs };
    const found = list.some(
      (mac) => mac.replaceAll(":", "").toLowerCase() === Buffer.from(bytes).toString("hex"),
    );
    return not ? !found : found;
  };
  return (
    fits(asked.outer, packet.tags[0]) &&
    fits(asked.inner, packet.tags[1]) &&
    isOne(match.sourceMac, packet.sourceMac) &&
    isOne(match.destinationMac, packet.destinationMac)
  );
}

function isOn(match: FirewallMatch, interfaceName: string, policy: PolicyDocuments): boolean {
  if (match.interfaces === undefined) return true;
  const { groups, not = false } =
    "groups" in match.interfaces ? match.interfaces : { groups: match.interfaces };
  return not !== namesInterface(groups, interfaceName, policy);
}

const numbers: Record<string, number> = {
  tcp: 6,
  udp: 17,
  icmp: 1,
  icmpv6: 58,
  esp: 50,
  ah: 51,
  gre: 47,
  sctp: 132,
};

function matches(rule: FirewallRule, packet: IpPacket, policy: PolicyDocuments): boolean {
  const match = rule.match ?? {};
  const protocols = [match.protocol ?? []].flat().map((item) => numbers[item] ?? item);
  // Both forms of a time sort as text; the time of these tests is 2027-06-30T12:00:00Z.
  const now = rule.expires?.includes("T") ? "2027-06-30T12:00:01Z" : "2027-06-30";
  if (rule.expires !== undefined && rule.expires < now) return false;
  if (match.family !== undefined && match.family !== `ipv${packet.family}`) return false;
  return (
    (match.protocol === undefined ||
      [packet.protocol, ...packet.extensionHeaders.filter((type) => type === 51)].some((n) =>
        protocols.includes(n),
      )) &&
    fitsTransport(match, packet) &&
    fitsPacket(match, packet) &&
    fitsLink(match, packet) &&
    allows(packet, packet.sourcePort, match.sourcePorts, policy) &&
    allows(packet, packet.destinationPort, match.destinationPorts, policy) &&
    holds(match.source, packet.source, policy) &&
    holds(match.destination, packet.destination, policy)
  );
}

/** A document in audit mode reports its default like a last rule that matches everything. */
function withAuditedDefault({ mode, rules, default: verdict }: Firewall["spec"]): readonly FirewallRule[] {
  return mode === "audit" && verdict !== undefined
    ? [...rules, { name: "(default)", action: verdict }]
    : rules;
}

/** What decides, and what is recorded before it. */
function bareFirstMatch(policy: PolicyDocuments, interfaceName: string, packet: IpPacket) {
  const documents = policy.firewalls.filter(({ spec }) =>
    namesInterface(spec.interfaces, interfaceName, policy),
  );
  const hits = documents
    .flatMap(({ metadata, spec }) =>
      withAuditedDefault(spec).map((rule, index) => ({
        document: metadata.name,
        audit: spec.mode === "audit",
        rule,
        rank: `${String(spec.order ?? 100).padStart(5, "0")} ${metadata.name.padEnd(63, " ")} ${String(index).padStart(5, "0")}`,
      })),
    )
    .filter(({ rule }) => matches(rule, packet, policy) && isOn(rule.match ?? {}, interfaceName, policy))
    .sort((a, b) => (a.rank < b.rank ? -1 : 1));
  const isDecision = (hit: (typeof hits)[number]) => hit.rule.action !== "log";
  const decider = hits.find((hit) => !hit.audit && isDecision(hit));
  const firstDecisions = new Map(
    hits
      .filter(isDecision)
      .map((hit) => [hit.document, hit] as const)
      .reverse(),
  );
  const logged = hits
    .filter((hit) => decider === undefined || hit.rank < decider.rank)
    .filter((hit) => hit.audit || !isDecision(hit))
    .filter((hit) => !hit.audit || hit.rank <= (firstDecisions.get(hit.document)?.rank ?? hit.rank))
    .map(({ document, rule }) =>
      rule.action === "log"
        ? { document, rule: rule.name }
        : { document, rule: rule.name, wouldBe: rule.action },
    );
  const stated = documents.filter(({ spec }) => spec.mode !== "audit").map(({ spec }) => spec.default);
  const verdict = decider?.rule.action ?? stated.find((said) => said !== undefined) ?? "pass";
  return {
    verdict,
    cause: documents.length === 0 ? "unbound" : decider === undefined ? "default" : "rule",
    rule: decider && { document: decider.document, rule: decider.rule.name, log: decider.rule.log ?? false },
    logged,
  };
}

/** What the reason of a rule's pass becomes where the rule sends packets somewhere. */
const routed: readonly string[] = ["routed", "route-expired", "no-route"];

describe("the reference model", () => {
  it("is first match by the bare definition", () => {
    fc.assert(
      fc.property(arbitraryPolicy, arbitraryInterface, arbitraryFrames, (policy, interfaceName, frames) => {
        const { judgeFrame, judgePacket } = model(policy, interfaceName);
        for (const frame of frames) {
          const packet = dissect(frame);
          if (packet.kind !== "ip") continue;
          const { verdict, reason, rule, logged, answer } = judgeFrame(frame);
          const { cause, ...bare } = bareFirstMatch(policy, interfaceName, packet);
          // Where a packet goes is no matter of which rule decides.
          const isRouted = routed.includes(reason);
          const decided = isRouted ? "pass" : verdict;
          expect({ verdict: decided, rule, logged }).toEqual(bare);
          const answered = answer === undefined ? "reject-silent" : "reject";
          const named = cause === "unbound" ? cause : `${cause}-${verdict}`;
          if (!isRouted) expect(reason).toBe(verdict === "reject" ? answered : named);
          expect(judgePacket(packet)).toEqual(judgeFrame(frame));
        }
      }),
      { numRuns: 120 },
    );
  });

  it("judges any frame, and gives one of the reasons with the verdict that it names", () => {
    fc.assert(
      fc.property(arbitraryPolicy, arbitraryInterface, arbitraryFrames, (policy, interfaceName, frames) => {
        const { judgeFrame } = model(policy, interfaceName);
        for (const frame of frames) {
          const judgement = judgeFrame(frame);
          expect(fwReasonNames).toContain(judgement.reason);
          const passes =
            ["unbound", "routed", "route-expired"].includes(judgement.reason) ||
            judgement.reason.endsWith("-pass");
          const rejects = judgement.reason.startsWith("reject");
          expect(judgement.verdict).toBe(rejects ? "reject" : passes ? "pass" : "drop");
          if (!rejects) {
            const byRule = judgement.reason.startsWith("rule-") || routed.includes(judgement.reason);
            expect(judgement.rule !== undefined).toBe(byRule);
          }
        }
      }),
      { numRuns: 150 },
    );
  });

  it("does not see padding", () => {
    const padding = fc.uint8Array({ minLength: 1, maxLength: 64 });
    fc.assert(
      fc.property(
        arbitraryPolicy,
        arbitraryInterface,
        arbitraryFrames,
        padding,
        (policy, interfaceName, frames, bytes) => {
          const { judgeFrame } = model(policy, interfaceName);
          for (const frame of frames.filter((candidate) => dissect(candidate).kind === "ip")) {
            expect(judgeFrame(concat(frame, bytes))).toEqual(judgeFrame(frame));
          }
        },
      ),
      { numRuns: 120 },
    );
  });

  it("decides the same whatever the order of documents in the policy", () => {
    fc.assert(
      fc.property(arbitraryPolicy, arbitraryInterface, arbitraryFrames, (policy, interfaceName, frames) => {
        const reversed = { ...policy, firewalls: policy.firewalls.toReversed() };
        const a = model(policy, interfaceName);
        const b = model(reversed, interfaceName);
        for (const frame of frames) expect(b.judgeFrame(frame)).toEqual(a.judgeFrame(frame));
      }),
      { numRuns: 120 },
    );
  });

  it("gives the verdict that it would give without the documents in audit mode", () => {
    fc.assert(
      fc.property(arbitraryPolicy, arbitraryInterface, arbitraryFrames, (policy, interfaceName, frames) => {
        const enforcing = policy.firewalls.filter(({ spec }) => spec.mode !== "audit");
        const a = model(policy, interfaceName);
        const b = model({ ...policy, firewalls: enforcing }, interfaceName);
        for (const frame of frames) {
          const alone = b.judgeFrame(frame);
          // Without them there may be no binding left, and then malformed frames pass.
          if (alone.reason === "unbound") continue;
          const { verdict, reason, rule } = a.judgeFrame(frame);
          expect({ verdict, reason, rule }).toEqual({
            verdict: alone.verdict,
            reason: alone.reason,
            rule: alone.rule,
          });
        }
      }),
      { numRuns: 120 },
    );
  });
});

describe("arbitrary policies", () => {
  it("are valid policy, name what exists, and are small", () => {
    fc.assert(
      fc.property(arbitraryPolicy, (policy) => {
        const { interfaceGroups, addressSets, portSets, firewalls } = policy;
        const documents = [...interfaceGroups, ...addressSets, ...portSets, ...firewalls];
        const files = documents.map((document, i) => ({
          path: `${i}.json`,
          content: new TextEncoder().encode(JSON.stringify(document)),
        }));
        const parsed = parsePolicy(files);
        expect(parsed.diagnostics.filter(({ severity }) => severity === "error")).toEqual([]);
        expect(parsed.policy.documents.length).toBe(documents.length);
        const rules = policy.firewalls.flatMap(({ spec }) => spec.rules);
        expect(rules.length).toBeLessThanOrEqual(40);
        const ends = rules.flatMap(({ match }) => [match?.source ?? {}, match?.destination ?? {}]);
        const sets = policy.addressSets.map(({ metadata }) => metadata.name);
        for (const set of ends.flatMap((end) => end.sets ?? [])) expect(sets).toContain(set);
        const prefixes = ends.flatMap((end) => end.prefixes ?? []);
        for (const set of policy.addressSets) prefixes.push(...(set.spec.prefixes ?? []));
        for (const prefix of prefixes) expect(parsePrefix(prefix).ok, prefix).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  it("lead the frames to every reason but those that only the kernel gives, to log rules and to rules in audit mode", {
    timeout: 60_000,
  }, () => {
    const frames = fc.sample(arbitraryFrame, { numRuns: 1500, seed: 1 });
    const seen = new Set<string>();
    for (const policy of fc.sample(arbitraryPolicy, { numRuns: 40, seed: 2 })) {
      for (const name of pooledInterfaces) {
        const { judgeFrame } = model(policy, name);
        for (const judgement of frames.map((frame) => judgeFrame(frame))) {
          seen.add(judgement.reason);
          for (const { wouldBe } of judgement.logged) seen.add(`logged ${wouldBe}`);
          if (judgement.passedOverForPorts.length > 0) seen.add("passed over");
        }
      }
    }
    // The model knows neither the routes' MTUs nor what came before a packet.
    const unknown = ["internal-error", "too-big", "established", "blocked", "limit", "table-full"];
    const reasons = fwReasonNames.filter((reason) => !unknown.includes(reason));
    expect([...seen].sort()).toEqual(
      [...reasons, "logged drop", "logged pass", "logged reject", "logged undefined", "passed over"].sort(),
    );
  });
});
