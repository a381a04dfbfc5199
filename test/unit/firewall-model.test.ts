// Known answers for the firewall's reference model: what binds an interface, frames that no rule sees, and the fields
// of a rule. What comes of several rules is in firewall-model-order.test.ts.
import { describe, expect, it } from "vitest";
import { type Judgement, judge } from "../../src/kinds/firewall/model.ts";
import type { FirewallMatch } from "../../src/policy/index.ts";
import type { PolicyDocuments } from "../fixtures/firewall-arbitraries.ts";
import { addressSet, firewall, interfaceGroup, packets, policyOf } from "../fixtures/firewall-documents.ts";
import { ethernet, ipv4, ipv6, raw, tcp } from "../fixtures/packets.ts";

const now = Date.parse("2027-06-30T12:00:00Z");
const host = { interfaceName: "eth0", interfaces: ["eth0", "eth1", "lo"], now };
const ask = (policy: PolicyDocuments, frame: Uint8Array, options: object = {}): Judgement =>
  judge({ ...host, ...options, policy }, frame);
const { web, web6, query, ping, arp, first, later, later6 } = packets;
const cutShort = web.slice(0, 40);

describe("binding", () => {
  const dropAll = [{ action: "drop" }] as const;
  const rows: [string, PolicyDocuments, object, string][] = [
    ["no documents at all", policyOf(), {}, "unbound"],
    ["a document for the interface", policyOf(firewall("a", dropAll)), {}, "rule-drop"],
    [
      "a document for another interface",
      policyOf(firewall("a", dropAll, { interfaces: ["eth1"] })),
      {},
      "unbound",
    ],
    [
      "a document for both",
      policyOf(firewall("a", dropAll, { interfaces: ["eth1", "eth0"] })),
      {},
      "rule-drop",
    ],
    [
      "an interface that does not exist",
      policyOf(firewall("a", dropAll)),
      { interfaces: ["eth1"] },
      "unbound",
    ],
    ["a name that begins the same", policyOf(firewall("a", dropAll, { interfaces: ["eth"] })), {}, "unbound"],
    ["a document without rules", policyOf(firewall("a", [])), {}, "default-pass"],
    [
      "a document in audit mode binds too",
      policyOf(firewall("a", dropAll, { mode: "audit" })),
      {},
      "default-pass",
    ],
    [
      "a group",
      policyOf(interfaceGroup("wan", ["eth0"]), firewall("a", dropAll, { interfaces: ["wan"] })),
      {},
      "rule-drop",
    ],
    [
      "a group without the interface",
      policyOf(interfaceGroup("wan", ["eth1"]), firewall("a", dropAll, { interfaces: ["wan"] })),
      {},
      "unbound",
    ],
    [
      "a name that is both means the group",
      policyOf(interfaceGroup("eth0", ["eth1"]), firewall("a", dropAll)),
      {},
      "unbound",
    ],
    [
      "the other side of a name that is both",
      policyOf(interfaceGroup("eth0", ["eth1"]), firewall("a", dropAll)),
      { interfaceName: "eth1" },
      "rule-drop",
    ],
    [
      "a group does not hold groups",
      policyOf(
        interfaceGroup("eth1", ["eth0"]),
        interfaceGroup("wan", ["eth1"]),
        firewall("a", dropAll, { interfaces: ["wan"] }),
      ),
      {},
      "unbound",
    ],
    [
      "labels that select the host",
      policyOf(firewall("a", dropAll, { nodes: { matchLabels: { role: "edge", site: "a" } } })),
      { nodeLabels: { role: "edge", site: "a", rack: "1" } },
      "rule-drop",
    ],
    [
      "a label with another value",
      policyOf(firewall("a", dropAll, { nodes: { matchLabels: { role: "edge" } } })),
      { nodeLabels: { role: "core" } },
      "unbound",
    ],
    [
      "a host without labels",
      policyOf(firewall("a", dropAll, { nodes: { matchLabels: { role: "edge" } } })),
      { nodeLabels: {} },
      "unbound",
    ],
    [
      "a group that is selected",
      policyOf(
        interfaceGroup("eth0", ["eth1"], { nodes: { matchLabels: { role: "edge" } } }),
        firewall("a", dropAll),
      ),
      { nodeLabels: { role: "edge" } },
      "unbound",
    ],
    [
      "a group that is not selected is not there, and its name means the interface",
      policyOf(
        interfaceGroup("eth0", ["eth1"], { nodes: { matchLabels: { role: "edge" } } }),
        firewall("a", dropAll),
      ),
      { nodeLabels: {} },
      "rule-drop",
    ],
  ];
  it.each(rows)("%s", (_, documents, options, reason) => {
    expect(ask(documents, web, options).reason).toBe(reason);
  });

  it.each([
    ["*", true],
    ["eth*", true],
    ["*0", true],
    ["e*0", true],
    ["eth0*", true],
    ["**", true],
    ["*t*h*", true],
    ["eth", false],
    ["th0", false],
    ["*1", false],
    ["ETH*", false],
    ["eth?", false],
    ["eth.", false],
    ["*0*0", false],
  ])("pattern %s", (pattern, matches) => {
    const documents = policyOf(interfaceGroup("g", [pattern]), firewall("a", dropAll, { interfaces: ["g"] }));
    expect(ask(documents, web).reason).toBe(matches ? "rule-drop" : "unbound");
  });

  it("a frame is not read on an interface without binding", () => {
    expect(ask(policyOf(), new Uint8Array(0))).toMatchObject({ verdict: "pass", reason: "unbound" });
  });
});

describe("frames that no rule sees", () => {
  const passAll = firewall("a", [{ action: "pass" }], { default: "pass", nonIp: "pass" });
  const rows: [string, PolicyDocuments, Uint8Array, string, string, object[]?][] = [
    ["malformed, though all rules and defaults pass", policyOf(passAll), cutShort, "drop", "truncated-ip"],
    [
      "malformed, under a document in audit mode",
      policyOf({ ...passAll, spec: { ...passAll.spec, mode: "audit" } }),
      cutShort,
      "drop",
      "truncated-ip",
    ],
    ["too short for Ethernet", policyOf(passAll), new Uint8Array(13), "drop", "truncated-ethernet"],
    [
      "ARP, nobody says anything",
      policyOf(firewall("a", [], { default: "drop" })),
      arp,
      "pass",
      "non-ip-pass",
    ],
    ["ARP, drop", policyOf(firewall("a", [{}], { nonIp: "drop" })), arp, "drop", "non-ip-drop"],
    [
      "ARP, pass",
      policyOf(firewall("a", [{ action: "drop" }], { nonIp: "pass" })),
      arp,
      "pass",
      "non-ip-pass",
    ],
    [
      "ARP, drop in audit mode",
      policyOf(firewall("a", [], { nonIp: "drop", mode: "audit" })),
      arp,
      "pass",
      "non-ip-pass",
      [{ document: "a", rule: "(non-ip)", wouldBe: "drop" }],
    ],
    [
      "ARP, only the second of two documents says drop",
      policyOf(firewall("a", []), firewall("b", [], { nonIp: "drop" })),
      arp,
      "drop",
      "non-ip-drop",
    ],
  ];
  it.each(rows)("%s", (_, documents, frame, verdict, reason, logged = []) => {
    expect(ask(documents, frame)).toEqual({
      verdict,
      reason,
      logged,
      fragment: "whole",
      passedOverForPorts: [],
    });
  });
});

describe("the fields of a rule", () => {
  const sets = [
    addressSet("empty", []),
    addressSet("ten", ["10.0.0.0/8"]),
    addressSet("eleven", ["11.0.0.0/8", "10.0.0.2"]),
    addressSet("six", ["2001:db8::/32"]),
  ];
  const rows: [string, FirewallMatch | undefined, Uint8Array, boolean][] = [
    ["no match at all", undefined, web, true],
    ["an empty match", {}, later6, true],
    ["family ipv4, IPv4", { family: "ipv4" }, web, true],
    ["family ipv4, IPv6", { family: "ipv4" }, web6, false],
    ["family ipv6, IPv6", { family: "ipv6" }, web6, true],
    ["protocol tcp, TCP", { protocol: "tcp" }, web, true],
    ["protocol tcp, UDP", { protocol: "tcp" }, query, false],
    ["protocol 6, TCP", { protocol: 6 }, web, true],
    ["protocol 0 is not any", { protocol: 0 }, web, false],
    ["protocols, the second matches", { protocol: ["tcp", 17] }, query, true],
    ["protocols, none matches", { protocol: ["tcp", "udp"] }, ping, false],
    ["protocol icmp, ICMP", { protocol: "icmp" }, ping, true],
    ["protocol icmpv6, ICMP", { protocol: "icmpv6" }, ping, false],
    ["protocol gre", { protocol: "gre" }, ethernet({}, ipv4({}, raw(47))), true],
    ["protocol esp", { protocol: "esp" }, ethernet({}, ipv6({}, raw(50))), true],
    ["protocol ah in IPv4", { protocol: "ah" }, ethernet({}, ipv4({}, raw(51))), true],
    ["protocol sctp", { protocol: "sctp" }, ethernet({}, ipv6({}, raw(132))), true],
    ["protocol of a later fragment", { protocol: "tcp" }, later, true],
    ["source host", { source: { prefixes: ["10.0.0.1"] } }, web, true],
    ["source host, the next one", { source: { prefixes: ["10.0.0.0"] } }, web, false],
    ["source prefix", { source: { prefixes: ["11.0.0.0/8", "10.0.0.0/31"] } }, web, true],
    ["source is not the destination", { source: { prefixes: ["192.0.2.1"] } }, web, false],
    ["destination prefix", { destination: { prefixes: ["192.0.2.0/25"] } }, web, true],
    ["destination is not the source", { destination: { prefixes: ["10.0.0.1"] } }, web, false],
    [
      "source and destination",
      { source: { sets: ["ten"] }, destination: { prefixes: ["192.0.2.1"] } },
      web,
      true,
    ],
    ["source but not destination", { source: { sets: ["ten"] }, destination: { sets: ["ten"] } }, web, false],
    ["0.0.0.0/0, IPv4", { source: { prefixes: ["0.0.0.0/0"] } }, web, true],
    ["0.0.0.0/0, IPv6", { source: { prefixes: ["0.0.0.0/0"] } }, web6, false],
    ["::/0, IPv6", { source: { prefixes: ["::/0"] } }, web6, true],
    ["::/0, IPv4", { source: { prefixes: ["::/0"] } }, web, false],
    [
      "an IPv4 prefix and a mapped address",
      { source: { prefixes: ["10.0.0.1"] } },
      ethernet({}, ipv6({ source: "::ffff:10.0.0.1" }, tcp())),
      false,
    ],
    ["a set", { source: { sets: ["ten"] } }, web, true],
    ["sets, the last holds it", { source: { sets: ["empty", "six", "ten"] } }, web, true],
    ["sets, none holds it", { source: { sets: ["empty", "eleven", "six"] } }, web, false],
    ["a set or a prefix", { source: { sets: ["eleven"], prefixes: ["10.0.0.1"] } }, web, true],
    ["an empty set", { source: { sets: ["empty"] } }, web, false],
    ["not an empty set", { source: { sets: ["empty"], not: true } }, web, true],
    ["not, held", { source: { sets: ["ten"], not: true } }, web, false],
    ["not, held by the second", { source: { sets: ["eleven", "ten"], not: true } }, web, false],
    ["not, held by none", { source: { sets: ["eleven"], prefixes: ["10.0.0.2"], not: true } }, web, true],
    ["not, of the other family", { source: { sets: ["six"], not: true } }, web, true],
    ["not 0.0.0.0/0 is IPv6", { source: { prefixes: ["0.0.0.0/0"], not: true } }, web6, true],
    ["not: false", { source: { sets: ["ten"], not: false } }, web, true],
    ["port", { destinationPorts: [22, 80] }, web, true],
    ["another port", { destinationPorts: [22, 81] }, web, false],
    ["port as text", { destinationPorts: ["80"] }, web, true],
    ["range, first", { destinationPorts: ["80-90"] }, web, true],
    ["range, last", { destinationPorts: ["70-80"] }, web, true],
    ["range, before", { destinationPorts: ["81-90"] }, web, false],
    ["range, after", { destinationPorts: ["70-79"] }, web, false],
    ["port without protocol, UDP", { destinationPorts: [53] }, query, true],
    ["source port", { sourcePorts: [5353] }, query, true],
    ["source port is not the destination's", { sourcePorts: [53] }, query, false],
    ["both ports", { sourcePorts: ["5000-6000"], destinationPorts: [53] }, query, true],
    ["both ports, one wrong", { sourcePorts: ["5000-6000"], destinationPorts: [54] }, query, false],
    ["ports as an object", { destinationPorts: { ports: [80] } }, web, true],
    ["ports, not: false", { destinationPorts: { ports: [80], not: false } }, web, true],
    ["ports, not, held", { destinationPorts: { ports: [22, "70-80"], not: true } }, web, false],
    ["ports, not, held by none", { destinationPorts: { ports: [22, "81-90"], not: true } }, web, true],
    ["all ports, ICMP", { destinationPorts: ["0-65535"] }, ping, false],
    ["not a port, ICMP", { destinationPorts: { ports: [80], not: true } }, ping, false],
    ["port, first fragment", { destinationPorts: [80] }, first, true],
    ["all ports, later fragment", { destinationPorts: ["0-65535"] }, later, false],
    ["not a port, later fragment", { sourcePorts: { ports: [80], not: true } }, later6, false],
    ["protocol but not port", { protocol: "udp", destinationPorts: [80] }, web, false],
    [
      "everything",
      {
        family: "ipv4",
        protocol: ["tcp"],
        source: { sets: ["ten"] },
        destination: { prefixes: ["192.0.2.1"] },
        sourcePorts: ["1024-65535"],
        destinationPorts: [80],
      },
      web,
      true,
    ],
  ];
  it.each(rows)("%s", (_, match, frame, matches) => {
    const rule = { action: "drop", ...(match !== undefined && { match }) } as const;
    const judgement = ask(policyOf(...sets, firewall("a", [rule])), frame);
    expect(judgement.reason).toBe(matches ? "rule-drop" : "default-pass");
    expect(judgement.rule).toEqual(matches ? { document: "a", rule: "r0", log: false } : undefined);
  });
});
