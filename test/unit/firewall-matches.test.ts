// Every match of a rule, by known answers: the model's, the words of plans, and what the compiler says of matches that
// do not go together.
import { describe, expect, it, test } from "vitest";
import { formatDiagnostic } from "../../src/base/index.ts";
import { type HostInterface, idRangesFor } from "../../src/compile/index.ts";
import { describeRule } from "../../src/kinds/firewall/describe.ts";
import { prepareModel } from "../../src/kinds/firewall/model.ts";
import { kinds } from "../../src/kinds/index.ts";
import type { FirewallMatch } from "../../src/policy/index.ts";
import { preparePolicy } from "../../src/reconcile/index.ts";
import type { PolicyDocuments } from "../fixtures/firewall-arbitraries.ts";
import { firewall, interfaceGroup, packets, policyOf } from "../fixtures/firewall-documents.ts";
import { knownMatches } from "../fixtures/firewall-known-matches.ts";
import { filesOf } from "../fixtures/test-datapath.ts";

const host: readonly HostInterface[] = ["eth0", "eth1", "eth2"].map((name, i) => ({ name, index: i + 1 }));

function compile(documents: PolicyDocuments) {
  return preparePolicy({
    files: filesOf(documents),
    labels: {},
    kinds,
    interfaces: host,
    knownIds: [],
    idRanges: idRangesFor(256),
    now: 0,
  });
}

function compiled(documents: PolicyDocuments) {
  const prepared = compile(documents);
  if (!prepared.ok) throw new Error(prepared.diagnostics.map(formatDiagnostic).join("\n"));
  return prepared.desired;
}

function wordsOf(documents: PolicyDocuments): string[] {
  const { tables, names } = compiled(documents);
  const table = tables.get("fw_rules");
  if (table === undefined) return [];
  const size = table.spec.payloadSize;
  const known = {
    nameOf: (space: string, id: number) => names.find((n) => n.space === space && n.id === id)?.name,
    interfaceName: () => undefined,
  };
  return Array.from({ length: table.count }, (_, i) =>
    describeRule(table.payloads.subarray(i * size, (i + 1) * size), known),
  ).map(({ detail }) => detail);
}

const modelOf = (policy: PolicyDocuments, interfaceName = "eth0") =>
  prepareModel({ policy, interfaceName, interfaces: host.map(({ name }) => name), now: 0 });

describe.each(knownMatches)("$match", ({ match, fits, others, words }) => {
  const policy = policyOf(firewall("a", [{ action: "drop", match }]));

  it("fits what it must in the model", () => {
    const { judgeFrame } = modelOf(policy);
    expect(fits.map((frame) => judgeFrame(frame).reason)).toEqual(fits.map(() => "rule-drop"));
    expect(others.map((frame) => judgeFrame(frame).reason)).toEqual(others.map(() => "default-pass"));
  });

  it("is put into words", () => {
    expect(wordsOf(policy)).toEqual(words.map((text) => `drop ${text} on interface/eth0`));
  });
});

test("states are matched by what the packet is to its connection", () => {
  const policy = policyOf(
    firewall("a", [{ match: { state: ["established", "related"] } }], { default: "drop" }),
  );
  const { judgeFrame } = modelOf(policy);
  const reasons = (["new", "established", "related", "invalid"] as const).map(
    (state) => judgeFrame(packets.web, state).reason,
  );
  expect(reasons).toEqual(["default-drop", "rule-pass", "rule-pass", "default-drop"]);
  expect(judgeFrame(packets.web).reason).toBe("default-drop");
  expect(wordsOf(policy)[0]).toBe("pass state established,related on interface/eth0");
});

test("a later fragment is passed over for its flags and its type too", () => {
  const asked: FirewallMatch[] = [{ tcpFlags: "syn" }, { protocol: "icmp", icmp: [8] }];
  const { judgeFrame } = modelOf(
    policyOf(
      firewall(
        "a",
        asked.map((match) => ({ match })),
      ),
    ),
  );
  expect(judgeFrame(packets.later).passedOverForPorts).toEqual([{ document: "a", rule: "r0" }]);
  expect(judgeFrame(packets.laterIcmp).passedOverForPorts).toEqual([{ document: "a", rule: "r1" }]);
  expect(judgeFrame(packets.later6).passedOverForPorts).toEqual([]);
});

describe("interfaces of a rule", () => {
  const inside = interfaceGroup("inside", ["eth1", "eth2"]);
  const on = (
    interfaces: NonNullable<FirewallMatch["interfaces"]>,
    spec = { interfaces: ["eth0", "eth1"] },
  ) => policyOf(inside, firewall("a", [{ action: "drop", match: { interfaces } }], spec));
  const verdicts = (policy: PolicyDocuments) =>
    host.map(({ name }) => modelOf(policy, name).judgeFrame(packets.web).reason);

  it("are those of the document that one of the groups holds", () => {
    expect(verdicts(on(["inside"]))).toEqual(["default-pass", "rule-drop", "unbound"]);
    expect(verdicts(on({ groups: ["inside"], not: true }))).toEqual(["rule-drop", "default-pass", "unbound"]);
    expect(wordsOf(on(["inside"]))).toEqual(["drop in inside on interface/eth0,interface/eth1"]);
    expect(wordsOf(on({ groups: ["inside"], not: true }))[0]).toContain("drop not in inside on");
  });

  it("bind and attach nothing by themselves", () => {
    const { attachments, tables } = compiled(on(["inside"]));
    expect(attachments.map((attachment) => attachment.interface)).toEqual(["eth0", "eth1"]);
    expect(tables.get("interfaces")?.count).toBe(2);
  });

  it("are in up to 64 groups", () => {
    const groups = Array.from({ length: 65 }, (_, i) => interfaceGroup(`g${i}`, ["eth0"]));
    const naming = (count: number) =>
      policyOf(
        ...groups.slice(0, count),
        firewall(
          "a",
          groups.slice(0, count).map(({ metadata }) => ({ match: { interfaces: [metadata.name] } })),
          { interfaces: ["g0"] },
        ),
      );
    expect(wordsOf(naming(64))).toHaveLength(64);
    const tooMany = compile(naming(65));
    expect(tooMany.diagnostics.map(formatDiagnostic)).toEqual([
      expect.stringContaining("error too-many-names there are more than 64 interface-group names"),
    ]);
  });
});

describe("is refused", () => {
  const rows: [FirewallMatch, string][] = [
    [{ tcpFlags: "syn", protocol: "udp" }, "tcp-flags-need-tcp only TCP has these flags"],
    [{ tcpFlags: "syn", protocol: ["tcp", "udp"] }, "tcp-flags-need-tcp"],
    [{ tcpFlags: "sin/syn" }, 'bad-tcp-flags "sin" is no TCP flag; did you mean'],
    [{ tcpFlags: "none" }, "bad-tcp-flags"],
    [{ tcpFlags: "syn/ack" }, "never-matches"],
    [{ icmp: [8] }, "icmp-needs-protocol"],
    [{ icmp: [8], protocol: "tcp" }, "icmp-needs-protocol"],
    [{ icmp: ["echo-reqest"], protocol: "icmp" }, 'bad-icmp-type "echo-reqest" is no type'],
    [{ icmp: ["packet-too-big"], protocol: "icmp" }, "bad-icmp-type"],
    [{ icmp: ["echo-request"], protocol: ["icmp", 58] }, "bad-icmp-type names of types mean"],
    [
      { icmp: [8], protocol: "icmp", family: "ipv6" },
      "never-matches only IPv4 packets fit this and only IPv6",
    ],
    [{ icmp: [8], protocol: "icmp", fragment: "later" }, "never-matches a later fragment has no icmp"],
    [{ destinationPorts: [80], fragment: "later" }, "never-matches"],
    [{ tcpFlags: "ack", fragment: "later" }, "never-matches"],
    [{ family: "ipv4", source: { prefixes: ["2001:db8::/32"] } }, "never-matches"],
    [{ source: { prefixes: ["10.0.0.0/8"] }, destination: { prefixes: ["::1"] } }, "never-matches"],
    [{ family: "ipv6", length: "20-39" }, "never-matches"],
    [{ family: "ipv4", length: 65536 }, "never-matches"],
    [{ length: "0-19" }, "never-matches no IP packet is shorter"],
    [{ length: "9-8" }, 'bad-length "9-8" runs backwards; write "8-9"'],
    [{ vlan: { outer: "none", inner: 4 } }, "never-matches a frame without an outer tag"],
    [{ interfaces: { groups: ["eth0"], not: true } }, "never-matches no interface of the document is left"],
    [{ sourceMac: { macs: [0, 1, 2, 3, 4].map((n) => `02:00:00:00:00:0${n}`), not: true } }, "too-many-macs"],
    [
      {
        sourcePorts: Array.from({ length: 136 }, (_, i) => 2 * i),
        destinationPorts: Array.from({ length: 136 }, (_, i) => 2 * i),
      },
      "too-many-records",
    ],
  ];
  it.each(rows)("%j", (match, text) => {
    const { diagnostics } = compile(policyOf(firewall("a", [{ match }])));
    expect(diagnostics.map(formatDiagnostic).join("\n")).toContain(`error ${text}`);
    expect(diagnostics).toHaveLength(1);
  });
});
