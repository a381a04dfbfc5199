// Port sets: what rules become that name them, in words and in records, and what is wrong with names and members.
import { expect, test } from "vitest";
import { formatDiagnostic } from "../../src/base/index.ts";
import { compilePolicy, idRangesFor } from "../../src/compile/index.ts";
import { describeRule } from "../../src/kinds/firewall/describe.ts";
import { prepareModel } from "../../src/kinds/firewall/model.ts";
import { kinds } from "../../src/kinds/index.ts";
import { type FirewallPorts, type PortSet, parsePolicy, selectForNode } from "../../src/policy/index.ts";
import type { PolicyDocuments } from "../fixtures/firewall-arbitraries.ts";
import { firewall, packets, policyOf, portSet } from "../fixtures/firewall-documents.ts";
import { filesOf } from "../fixtures/test-datapath.ts";

/** Rules' records in words, and findings, on a host with the given labels. */
function compile(documents: PolicyDocuments, labels: Readonly<Record<string, string>> = {}) {
  const parsed = parsePolicy(filesOf(documents));
  const { desired, diagnostics } = compilePolicy({
    policy: selectForNode(parsed.checkable, labels),
    kinds,
    interfaces: [],
    knownIds: [],
    idRanges: idRangesFor(256),
    now: 0,
  });
  const names = new Map(desired.names.map(({ space, id, name }) => [`${space} ${id}`, name]));
  const table = desired.tables.get("fw_rules");
  const size = table?.spec.payloadSize ?? 0;
  const records = Array.from({ length: table?.count ?? 0 }, (_, i) => {
    const payload = (table?.payloads ?? new Uint8Array()).slice(i * size, (i + 1) * size);
    return describeRule(payload, {
      nameOf: (space, id) => names.get(`${space} ${id}`),
      interfaceName: () => undefined,
    }).detail;
  });
  const findings = [...parsed.diagnostics, ...diagnostics].map((d) =>
    formatDiagnostic(d).replace(/^\S+ /, ""),
  );
  return { records, findings: findings.filter((finding) => !finding.includes("unknown-interface")) };
}

const rule = (destinationPorts: FirewallPorts) =>
  firewall("edge", [{ match: { protocol: "tcp", destinationPorts } }]);
const web = portSet("web", [80, 443, "8000-8079"]);
const near = portSet("near", ["8080-8089", 81]);
const many = portSet(
  "many",
  Array.from({ length: 9 }, (_, i) => 1000 + 2 * i),
);

test.each<[string, FirewallPorts, string[]]>([
  ["a set", { sets: ["web"] }, ["80,443,8000-8079"]],
  ["sets and ports, merged", { ports: [82], sets: ["web", "near"] }, ["80-82,443,8000-8089"]],
  ["the union negated", { ports: ["0-79"], sets: ["web"], not: true }, ["81-442,444-7999,8080-65535"]],
  [
    "a set that one record does not hold",
    { sets: ["many"] },
    ["1000,1002,1004,1006,1008,1010,1012,1014", "1016"],
  ],
])("%s", (_, ports, ranges) => {
  const { records, findings } = compile(policyOf(rule(ports), web, near, many));
  expect(findings).toEqual([]);
  expect(records).toEqual(ranges.map((range) => `pass tcp to port ${range} on interface/eth0`));
});

test.each<[string, FirewallPorts, PortSet[], string]>([
  [
    "a set that is not there",
    { sets: ["wbe"] },
    [web],
    'error unknown-set there is no PortSet "wbe" in force on this host; did you mean "web"?',
  ],
  [
    "neither ports nor sets",
    { not: true },
    [],
    "error empty-ports destinationPorts names neither ports nor sets; add some, or leave it out",
  ],
  [
    "nothing left over",
    { sets: ["all"], not: true },
    [portSet("all", ["0-65535"])],
    "error never-matches no port is left; this rule can never match",
  ],
  [
    "a bad member, told once",
    { sets: ["bad"] },
    [portSet("bad", [22, "30-20"])],
    'error bad-port "30-20" runs backwards; write "20-30"',
  ],
])("%s", (_, ports, sets, finding) => {
  expect(compile(policyOf(rule(ports), ...sets)).findings).toEqual([finding]);
});

test("a set that is not in force on the host is unknown there", () => {
  const edgeOnly = { ...web, spec: { ...web.spec, nodes: { matchLabels: { role: "edge" } } } };
  const documents = policyOf(rule({ sets: ["web"] }), edgeOnly);
  expect(compile(documents, { role: "edge" }).findings).toEqual([]);
  expect(compile(documents).findings).toEqual([
    'error unknown-set there is no PortSet "web" in force on this host; add one with this name',
  ]);
});

test("a rule may become 256 records and no more", () => {
  const odd = (count: number) => Array.from({ length: count }, (_, i) => 1 + 2 * i);
  const both = (count: number) => {
    const [sourcePorts, destinationPorts] = [{ sets: ["source"] }, { sets: ["destination"] }];
    const edge = firewall("edge", [{ match: { sourcePorts, destinationPorts } }]);
    return policyOf(edge, portSet("source", odd(128)), portSet("destination", odd(count)));
  };
  expect(compile(both(128)).records).toHaveLength(256);
  expect(compile(both(129)).findings).toEqual([expect.stringContaining("error too-many-records")]);
});

test("the model knows the members too", () => {
  const judge = (ports: FirewallPorts) =>
    prepareModel({
      policy: policyOf({ ...rule(ports), spec: { ...rule(ports).spec, default: "drop" } }, web),
      interfaceName: "eth0",
      interfaces: ["eth0"],
      now: 0,
    }).judgeFrame(packets.web).verdict;
  expect(judge({ sets: ["web"] })).toBe("pass");
  expect(judge({ ports: [22], sets: ["web"], not: true })).toBe("drop");
});
