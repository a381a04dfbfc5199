// Routes of rules: what they become in tables and in words, which programs they need, and what is wrong with them.
import { expect, test } from "vitest";
import {
  FwRouteFlag,
  FwRouteKind,
  fwReplyRouteCodec,
  fwRouteCodec,
  fwRuleCodec,
} from "../../src/abi/index.ts";
import { formatDiagnostic } from "../../src/base/index.ts";
import { compilePolicy, idRangesFor } from "../../src/compile/index.ts";
import { kinds } from "../../src/kinds/index.ts";
import {
  type Conntrack,
  type Firewall,
  type FirewallRule,
  parsePolicy,
  selectForNode,
} from "../../src/policy/index.ts";
import { conntrack, firewall, policyOf } from "../fixtures/firewall-documents.ts";
import { filesOf } from "../fixtures/test-datapath.ts";

const interfaces = [
  { name: "eth0", index: 2 },
  { name: "wan2", index: 7 },
  { name: "mon0", index: 9 },
];

/** Rules for eth0, where connections are tracked, as on the second way out. */
function compile(...rules: readonly Partial<FirewallRule>[]) {
  return compileDocuments(conntrack("all", ["eth0", "wan2"]), firewall("edge", rules));
}

function compileDocuments(...documents: readonly (Conntrack | Firewall)[]) {
  const parsed = parsePolicy(filesOf(policyOf(...documents)));
  const { desired, diagnostics } = compilePolicy({
    policy: selectForNode(parsed.checkable, {}),
    kinds,
    interfaces,
    knownIds: [],
    idRanges: idRangesFor(256),
    now: 0,
  });
  const names = new Map(desired.names.map(({ space, id, name }) => [`${space} ${id}`, name]));
  const describe = (table: string) => {
    const { keys, payloads, spec, count } = desired.tables.get(table) ?? expect.fail(`no ${table}`);
    const keySize = keys.length / Math.max(count, 1);
    return Array.from({ length: count }, (_, i) => {
      const key = keys.slice(i * keySize, (i + 1) * keySize);
      const payload = payloads.slice(i * spec.payloadSize, (i + 1) * spec.payloadSize);
      const kind = kinds.find(({ tables }) => tables.some(({ name }) => name === table));
      const text = kind?.describe(table, key, payload, {
        nameOf: (space, id) => names.get(`${space} ${id}`),
        interfaceName: (index) => interfaces.find((i) => i.index === index)?.name,
      });
      return {
        key: new DataView(key.buffer).getUint32(0, true),
        payload,
        text: `${text?.subject}: ${text?.detail}`,
      };
    });
  };
  const programs = desired.attachments
    .filter(({ program }) => !program.startsWith("tc_conntrack"))
    .map((each) => `${each.program} ${each.interface}`);
  const findings = [...parsed.diagnostics, ...diagnostics].map(formatDiagnostic);
  return { describe, programs, findings };
}

test("rules that name the same way share a slot, whatever the order of next hops", () => {
  const one = { interface: "wan2", nextHop: ["192.0.2.1", "fe80::1"] };
  const { describe, programs, findings } = compile(
    { routeTo: one, dupTo: { interface: "mon0" } },
    { routeTo: { ...one, nextHop: ["fe80::1", "192.0.2.1"] } },
    { routeTo: { interface: "wan2", nextHop: one.nextHop, fast: true } },
    { replyTo: one },
  );
  expect(findings).toEqual([]);
  expect(programs).toEqual([
    "tc_firewall_egress eth0",
    "tc_firewall_ingress eth0",
    "xdp_firewall eth0",
    "tc_firewall_egress wan2",
  ]);
  expect(describe("fw_routes").map(({ text }) => text)).toEqual([
    "route wan2 192.0.2.1 fe80::1: packets to wan2 192.0.2.1 fe80::1",
    "route copy mon0: copies to mon0",
    "route wan2 192.0.2.1 fe80::1 fast: packets to wan2 192.0.2.1 fe80::1 fast",
  ]);
  const records = describe("fw_rules").map(({ payload }) => fwRuleCodec.decode(payload));
  expect(records.map(({ routeTo, replyTo, mirrorTo }) => [routeTo, replyTo, mirrorTo])).toEqual([
    [1, 0, 2],
    [1, 0, 0],
    [3, 0, 0],
    [0, 1, 0],
  ]);
  expect(describe("fw_rules")[0]?.text).toContain("to wan2 192.0.2.1 fe80::1, copy mon0");
  const [reply] = describe("fw_reply_routes");
  expect(reply?.text).toBe("replies of rule edge/r3: to wan2 192.0.2.1 fe80::1");
  expect(reply?.key).toBe(records[3]?.ruleId);
  expect(fwReplyRouteCodec.decode(reply?.payload ?? new Uint8Array()).route).toBe(1);
});

test("only what is sent from XDP needs a device", () => {
  const { describe } = compile(
    { routeTo: { interface: "wan2", fast: true } },
    { routeTo: { interface: "eth0" } },
  );
  expect(describe("fw_devices").map(({ key, text }) => [key, text])).toEqual([[1, "device wan2#7: wan2"]]);
  const [fast, slow] = describe("fw_routes").map(({ payload }) => fwRouteCodec.decode(payload));
  expect(fast).toMatchObject({ ifindex: 7, device: 1, kind: FwRouteKind.via, flags: FwRouteFlag.fast });
  expect(slow).toMatchObject({ ifindex: 2, device: 0, kind: FwRouteKind.via, flags: 0 });
});

test("a document without routes needs no TC program", () => {
  expect(compile({}).programs).toEqual(["xdp_firewall eth0"]);
});

test("replies have a route where connections are tracked, whatever interface the host answers by", () => {
  const { programs } = compile({ replyTo: { interface: "wan2" } });
  expect(programs).toEqual(["tc_firewall_egress eth0", "xdp_firewall eth0", "tc_firewall_egress wan2"]);
});

test("replies have no route where nobody tracks connections", () => {
  const edge = firewall("edge", [{ replyTo: { interface: "wan2" } }], { interfaces: ["eth0", "mon0"] });
  const refused = /error.*needs-conntrack.*replyTo.*interface mon0.*name it in a Conntrack document/;
  expect(compileDocuments(conntrack("other", ["wan2"]), edge).findings).toEqual([
    expect.stringMatching(/eth0, interface mon0 are not/),
  ]);
  expect(compileDocuments(conntrack("some", ["eth0"]), edge).findings).toEqual([
    expect.stringMatching(refused),
  ]);
  expect(compileDocuments(conntrack("all", ["eth0", "mon0"]), edge).findings).toEqual([]);
});

test("an interface that is missing is a warning, and nothing leaves", () => {
  const { describe, findings } = compile({ routeTo: { interface: "wan3" } });
  expect(findings).toEqual([expect.stringMatching(/warning.*unknown-interface.*"wan3"/)]);
  expect(describe("fw_routes").map(({ text }) => text)).toEqual([
    "route wan3: through an interface that is missing",
  ]);
});

test.each<readonly [string, Partial<FirewallRule>, RegExp]>([
  ["drops", { action: "drop", routeTo: { interface: "wan2" } }, /error.*route-needs-pass/],
  ["logs", { action: "log", dupTo: { interface: "mon0" } }, /error.*route-needs-pass/],
  ["names no address", { routeTo: { interface: "wan2", nextHop: "wan" } }, /error.*bad-address/],
  [
    "names two of one family",
    { routeTo: { interface: "wan2", nextHop: ["192.0.2.1", "192.0.2.2"] } },
    /error.*second-next-hop/,
  ],
  [
    "has a next hop for one family",
    { routeTo: { interface: "wan2", nextHop: "192.0.2.1" } },
    /warning.*route-for-one-family.*IPv6/,
  ],
])("a rule that %s is told so", (_what, rule, finding) => {
  expect(compile(rule).findings).toContainEqual(expect.stringMatching(finding));
});

test("a rule of one family needs a next hop of that family only", () => {
  const routeTo = { interface: "wan2", nextHop: "192.0.2.1" };
  expect(compile({ match: { family: "ipv4" }, routeTo }).findings).toEqual([]);
});
