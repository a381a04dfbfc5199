// Known answers for the firewall's reference model: the order of documents and rules, log rules and audit mode,
// defaults, expiry, fragments, and packets that are described rather than sent.
import { describe, expect, it } from "vitest";
import { FwReason, fwReasonNames } from "../../src/abi/index.ts";
import { malformedReasons } from "../../src/base/index.ts";
import { type Judgement, judge, prepareModel } from "../../src/kinds/firewall/model.ts";
import type { FirewallMatch } from "../../src/policy/index.ts";
import type { PolicyDocuments } from "../fixtures/firewall-arbitraries.ts";
import { firewall, packets, policyOf } from "../fixtures/firewall-documents.ts";
import { addressBytes, ethernet, ipv4, tcp } from "../fixtures/packets.ts";

const now = Date.parse("2027-06-30T12:00:00Z");
const host = { interfaceName: "eth0", interfaces: ["eth0", "eth1", "lo"], now };
const ask = (policy: PolicyDocuments, frame: Uint8Array, options: object = {}): Judgement =>
  judge({ ...host, ...options, policy }, frame);
const { web, first, later, later6, laterIcmp } = packets;

describe("the order of rules", () => {
  const ssh: FirewallMatch = { destinationPorts: [22] };
  const drop = { action: "drop" } as const;
  const rows: [string, PolicyDocuments, object][] = [
    [
      "the first that matches",
      policyOf(firewall("a", [{ match: ssh }, drop, {}])),
      { reason: "rule-drop", rule: { rule: "r1" } },
    ],
    [
      "a lower order first",
      policyOf(firewall("a", [drop], { order: 101 }), firewall("b", [{}], { order: 99 })),
      { reason: "rule-pass", rule: { document: "b" } },
    ],
    [
      "order is 100 unless given",
      policyOf(firewall("a", [drop], { order: 101 }), firewall("b", [{}])),
      { rule: { document: "b" } },
    ],
    [
      "order 0 is the lowest",
      policyOf(firewall("a", [drop], { order: 1 }), firewall("b", [{}], { order: 0 })),
      { rule: { document: "b" } },
    ],
    [
      "equal orders by name",
      policyOf(firewall("b", [{}]), firewall("a", [drop], { order: 100 })),
      { rule: { document: "a" } },
    ],
    [
      "names by code unit, a hyphen before a digit and a letter",
      policyOf(firewall("a1", [{}]), firewall("ab", [{}]), firewall("a-b", [drop])),
      { rule: { document: "a-b" } },
    ],
    [
      "a shorter name first",
      policyOf(firewall("a0", [{}]), firewall("a", [drop])),
      { rule: { document: "a" } },
    ],
    [
      "the next document, where the first has no match",
      policyOf(firewall("a", [{ match: ssh }]), firewall("b", [drop])),
      { rule: { document: "b" } },
    ],
    [
      "documents of other interfaces are not tried",
      policyOf(firewall("a", [drop], { interfaces: ["eth1"] }), firewall("b", [{}])),
      { rule: { document: "b" } },
    ],
    [
      "the deciding rule's wish for an event",
      policyOf(firewall("a", [{ log: true }])),
      { rule: { log: true }, logged: [] },
    ],
    [
      "no rule: default-pass",
      policyOf(firewall("a", [{ match: ssh }])),
      { verdict: "pass", reason: "default-pass" },
    ],
    [
      "no rule: default drop",
      policyOf(firewall("a", [{ match: ssh }], { default: "drop" })),
      { verdict: "drop", reason: "default-drop" },
    ],
    [
      "no rule: the default of the last document",
      policyOf(firewall("a", [], { order: 1 }), firewall("b", [], { default: "drop" })),
      { reason: "default-drop" },
    ],
    [
      "a default does not end a document",
      policyOf(firewall("a", [], { order: 1, default: "drop" }), firewall("b", [{}])),
      { reason: "rule-pass" },
    ],
    [
      "no rule: the default of a document in audit mode does not count",
      policyOf(firewall("a", [], { default: "drop", mode: "audit" })),
      { reason: "default-pass" },
    ],
    [
      "no rule: nor beside one that enforces",
      policyOf(firewall("a", [], { default: "drop", mode: "audit" }), firewall("b", [], { default: "pass" })),
      { reason: "default-pass" },
    ],
  ];
  it.each(rows)("%s", (_, documents, expected) => {
    expect(ask(documents, web)).toMatchObject(expected);
  });
});

describe("log rules and audit mode", () => {
  const log = { action: "log" } as const;
  const drop = { action: "drop" } as const;
  const miss = { match: { destinationPorts: [22] } };
  const audit = { mode: "audit", order: 1 } as const;
  const rows: [string, PolicyDocuments, object, Judgement["logged"]][] = [
    [
      "a log rule goes on",
      policyOf(firewall("a", [log, drop])),
      { reason: "rule-drop", rule: { rule: "r1" } },
      [{ document: "a", rule: "r0" }],
    ],
    [
      "a log rule that does not match",
      policyOf(firewall("a", [{ ...log, ...miss }, drop])),
      { reason: "rule-drop" },
      [],
    ],
    ["a log rule after the decision", policyOf(firewall("a", [drop, log])), { reason: "rule-drop" }, []],
    [
      "only log rules",
      policyOf(firewall("a", [log, log], { default: "drop" })),
      { reason: "default-drop" },
      [
        { document: "a", rule: "r0" },
        { document: "a", rule: "r1" },
      ],
    ],
    [
      "audit records what would be",
      policyOf(firewall("a", [drop], audit)),
      { reason: "default-pass", verdict: "pass" },
      [{ document: "a", rule: "r0", wouldBe: "drop" }],
    ],
    [
      "audit, pass would be",
      policyOf(firewall("a", [{}], audit), firewall("b", [drop])),
      { reason: "rule-drop", rule: { document: "b" } },
      [{ document: "a", rule: "r0", wouldBe: "pass" }],
    ],
    [
      "audit skips the rest of the document",
      policyOf(firewall("a", [miss, drop, {}, log], audit)),
      { reason: "default-pass" },
      [{ document: "a", rule: "r1", wouldBe: "drop" }],
    ],
    [
      "audit, log rules go on",
      policyOf(firewall("a", [log, drop], audit)),
      {},
      [
        { document: "a", rule: "r0" },
        { document: "a", rule: "r1", wouldBe: "drop" },
      ],
    ],
    [
      "each document in audit mode records",
      policyOf(firewall("a", [drop], audit), firewall("b", [log, {}], audit), firewall("c", [drop])),
      { rule: { document: "c" } },
      [
        { document: "a", rule: "r0", wouldBe: "drop" },
        { document: "b", rule: "r0" },
        { document: "b", rule: "r1", wouldBe: "pass" },
      ],
    ],
    [
      "audit after the decision records nothing",
      policyOf(firewall("a", [drop], { mode: "audit", order: 9 }), firewall("b", [{}], { order: 8 })),
      { reason: "rule-pass" },
      [],
    ],
    [
      "audit without a match",
      policyOf(firewall("a", [{ ...drop, ...miss }], audit)),
      { reason: "default-pass" },
      [],
    ],
    [
      "mode enforce by name",
      policyOf(firewall("a", [drop], { mode: "enforce" })),
      { reason: "rule-drop" },
      [],
    ],
  ];
  it.each(rows)("%s", (_, documents, expected, logged) => {
    const judgement = ask(documents, web);
    expect(judgement).toMatchObject(expected);
    expect(judgement.logged).toEqual(logged);
  });
});

describe("expiry", () => {
  it.each([
    ["the day before", "2027-06-30", "2027-06-29T23:59:59.999Z", true],
    ["the first moment of the day", "2027-06-30", "2027-06-30T00:00:00Z", true],
    ["the last moment of the day", "2027-06-30", "2027-06-30T23:59:59.999Z", true],
    ["the next day", "2027-06-30", "2027-07-01T00:00:00Z", false],
    ["before the instant", "2027-06-30T12:00:00Z", "2027-06-30T11:59:59.999Z", true],
    ["at the instant", "2027-06-30T12:00:00Z", "2027-06-30T12:00:00Z", false],
    ["after the instant", "2027-06-30T12:00:00Z", "2027-06-30T12:00:01Z", false],
    ["no expiry", undefined, "2099-01-01T00:00:00Z", true],
  ])("%s", (_, expires, time, inForce) => {
    const rule = { action: "drop", ...(expires !== undefined && { expires }) } as const;
    const judgement = ask(policyOf(firewall("a", [rule])), web, { now: Date.parse(time) });
    expect(judgement.reason).toBe(inForce ? "rule-drop" : "default-pass");
  });

  it("a document whose rules are all over still binds", () => {
    const rule = { action: "pass", expires: "2020-01-01" } as const;
    expect(ask(policyOf(firewall("a", [rule], { default: "drop" })), web).reason).toBe("default-drop");
  });
});

describe("fragments", () => {
  const port = firewall("a", [
    { match: { protocol: "tcp", destinationPorts: [80] } },
    { match: { protocol: "udp", destinationPorts: [53] } },
    { match: { source: { prefixes: ["203.0.113.7"] }, destinationPorts: [80] } },
    { action: "drop", match: { protocol: "tcp" } },
  ]);
  it.each([
    ["whole", web, "whole", "r0", []],
    ["first", first, "first", "r0", []],
    ["later: rules that ask for ports are passed over, and named", later, "later", "r3", ["r0"]],
    ["later, UDP in IPv6", later6, "later", undefined, ["r1"]],
    ["later, of a protocol without ports", laterIcmp, "later", undefined, []],
  ])("%s", (_, frame, fragment, rule, passedOver) => {
    const judgement = ask(policyOf(port), frame);
    expect(judgement.fragment).toBe(fragment);
    expect(judgement.rule?.rule).toBe(rule);
    expect(judgement.passedOverForPorts).toEqual(passedOver.map((name) => ({ document: "a", rule: name })));
  });
});

describe("described packets", () => {
  const model = prepareModel({
    ...host,
    policy: policyOf(firewall("a", [{ action: "drop", match: { protocol: "tcp", destinationPorts: [22] } }])),
  });
  const described = {
    family: 4,
    source: addressBytes("10.0.0.1"),
    destination: addressBytes("192.0.2.1"),
    protocol: 6,
    fragment: false,
    laterFragment: false,
    sourcePort: 40000,
    destinationPort: 22,
  } as const;
  it("are judged like frames", () => {
    expect(model.judgePacket(described)).toEqual(
      model.judgeFrame(
        ethernet({}, ipv4({ source: "10.0.0.1", destination: "192.0.2.1" }, tcp({ destinationPort: 22 }))),
      ),
    );
  });
  it("meet no rule that asks for a port that they do not state", () => {
    const { destinationPort: _, ...withoutPort } = described;
    expect(model.judgePacket(withoutPort).reason).toBe("default-pass");
  });
  it("have no ports but in TCP and UDP, whatever they state", () => {
    const anyPort = prepareModel({
      ...host,
      policy: policyOf(firewall("a", [{ action: "drop", match: { destinationPorts: ["0-65535"] } }])),
    });
    const judgement = anyPort.judgePacket({ ...described, protocol: 132 });
    expect(judgement).toMatchObject({ reason: "default-pass", passedOverForPorts: [] });
    expect(anyPort.judgeFrame(laterIcmp)).toMatchObject({ reason: "default-pass", passedOverForPorts: [] });
    expect(anyPort.judgePacket({ ...described, protocol: 17 }).reason).toBe("rule-drop");
  });
  it("have no ports as later fragments, whatever they state", () => {
    const judgement = model.judgePacket({ ...described, fragment: true, laterFragment: true });
    expect(judgement).toMatchObject({ reason: "default-pass", fragment: "later" });
  });
  it("pass on an interface without binding", () => {
    const unbound = prepareModel({ ...host, interfaceName: "lo", policy: policyOf() });
    expect(unbound.judgePacket(described).reason).toBe("unbound");
  });
});

describe("policies that the compiler refuses", () => {
  it.each([
    ["a set that is not there", policyOf(firewall("a", [{ match: { source: { sets: ["nowhere"] } } }]))],
    [
      "defaults that disagree",
      policyOf(firewall("a", [], { default: "pass" }), firewall("b", [], { default: "drop" })),
    ],
    [
      "nonIp that disagrees",
      policyOf(firewall("a", [], { nonIp: "pass" }), firewall("b", [], { nonIp: "drop" })),
    ],
    [
      "a prefix with host bits",
      policyOf(firewall("a", [{ match: { source: { prefixes: ["10.0.0.1/8"] } } }])),
    ],
    ["no date", policyOf(firewall("a", [{ expires: "2027-13-01" }]))],
  ])("are not judged by: %s", (_, documents) => {
    expect(() => ask(documents, web)).toThrow(/Cannot judge by this policy/);
  });
});

it("the reasons keep their numbers", () => {
  expect(fwReasonNames.length).toBe(30);
  expect(FwReason["default-drop"]).toBe(6);
  expect(FwReason["internal-error"]).toBe(19);
  expect(FwReason["reject-silent"]).toBe(21);
  expect(FwReason["too-big"]).toBe(25);
  expect(FwReason["table-full"]).toBe(29);
});

it("the dissector's reasons are the datapath's, in its order", () => {
  const first = FwReason[malformedReasons[0]];
  expect(fwReasonNames.slice(first, first + malformedReasons.length)).toEqual(malformedReasons);
  expect(first + malformedReasons.length).toBe(FwReason["internal-error"]);
});
