// What rules do besides letting packets through and dropping them: their records in words, what is wrong with them,
// and what the model says of answers.
import { expect, test } from "vitest";
import { formatDiagnostic } from "../../src/base/index.ts";
import { compilePolicy, idRangesFor } from "../../src/compile/index.ts";
import { describeRule } from "../../src/kinds/firewall/describe.ts";
import { prepareModel } from "../../src/kinds/firewall/model.ts";
import { kinds } from "../../src/kinds/index.ts";
import { type Firewall, type FirewallRule, parsePolicy, selectForNode } from "../../src/policy/index.ts";
import { firewall, packets, policyOf } from "../fixtures/firewall-documents.ts";
import { ethernet, icmp, icmpv6, ipv4, ipv6, tcp, udp } from "../fixtures/packets.ts";
import { filesOf } from "../fixtures/test-datapath.ts";

/** Records in words and findings, without those about the interface. */
function compile(document: Firewall) {
  const parsed = parsePolicy(filesOf(policyOf(document)));
  const { desired, diagnostics } = compilePolicy({
    policy: selectForNode(parsed.checkable, {}),
    kinds,
    interfaces: [],
    knownIds: [],
    idRanges: idRangesFor(256),
    now: 0,
  });
  const table = desired.tables.get("fw_rules");
  const size = table?.spec.payloadSize ?? 0;
  const names = { nameOf: () => "eth0", interfaceName: () => undefined };
  const records = Array.from({ length: table?.count ?? 0 }, (_, i) => {
    const payload = (table?.payloads ?? new Uint8Array()).slice(i * size, (i + 1) * size);
    return describeRule(payload, names).detail;
  });
  const findings = [...parsed.diagnostics, ...diagnostics].map((d) => formatDiagnostic(d));
  return { records, findings: findings.filter((finding) => !finding.includes("unknown-interface")) };
}

const onlyTcp = { match: { protocol: "tcp" as const } };

test.each<[string, Partial<FirewallRule>, string]>([
  ["reject", { action: "reject" }, "reject on eth0"],
  [
    "reject with a reset",
    { action: "reject", reject: "tcp-reset", ...onlyTcp },
    "reject tcp on eth0 with tcp-reset",
  ],
  ["a mark", { mark: 0 }, "pass on eth0 with mark 0"],
  ["mark and DSCP", { mark: 7, dscp: "af41", log: true }, "pass on eth0 with log with mark 7, dscp af41"],
  ["a DSCP without a name", { dscp: 63 }, "pass on eth0 with dscp 63"],
])("%s", (_, rule, words) => {
  expect(compile(firewall("edge", [rule]))).toEqual({ records: [words], findings: [] });
});

test("reject by default", () => {
  const { records, findings } = compile(firewall("edge", [], { default: "reject" }));
  expect({ records, findings }).toEqual({ records: ["reject on eth0"], findings: [] });
});

test.each<[string, Partial<FirewallRule>, string]>([
  [
    "a reset to UDP",
    { action: "reject", reject: "tcp-reset", match: { protocol: "udp" } },
    "reset-needs-tcp",
  ],
  ["a reset to anything", { action: "reject", reject: "tcp-reset" }, "reset-needs-tcp"],
  [
    "a reset to TCP and UDP",
    { action: "reject", reject: "tcp-reset", match: { protocol: ["tcp", 17] } },
    "reset-needs-tcp",
  ],
  ["an answer without reject", { action: "drop", reject: "auto" }, "needs-other-action"],
  ["a mark for what is dropped", { action: "drop", mark: 1 }, "needs-other-action"],
  ["a DSCP for what is logged", { action: "log", dscp: "ef" }, "needs-other-action"],
])("%s is refused", (_, rule, code) => {
  const { findings } = compile(firewall("edge", [rule]));
  expect(findings).toHaveLength(1);
  expect(findings[0]).toContain(` error ${code} `);
});

const ends = { source: "10.0.0.1", destination: "10.0.0.2" };
const group = { destination: Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff) };

test.each<[string, Uint8Array, string | undefined]>([
  ["TCP", packets.web, "tcp-reset"],
  ["TCP over IPv6", packets.web6, "tcp-reset"],
  ["a first fragment", packets.first, "tcp-reset"],
  ["UDP", packets.query, "port-unreachable"],
  ["an echo request", packets.ping, "port-unreachable"],
  ["a later fragment", packets.later, undefined],
  ["a reset", ethernet({}, ipv4(ends, tcp({ flags: 0x14 }))), undefined],
  ["time exceeded", ethernet({}, ipv4(ends, icmp({ type: 11 }))), undefined],
  ["a type that nobody knows", ethernet({}, ipv4(ends, icmp({ type: 200 }))), undefined],
  ["packet too big", ethernet({}, ipv6({}, icmpv6({ type: 2 }))), undefined],
  ["a redirect", ethernet({}, ipv6({}, icmpv6({ type: 137 }))), undefined],
  ["a broadcast frame", ethernet(group, ipv4(ends, udp())), undefined],
  ["multicast", ethernet({}, ipv4({ ...ends, destination: "224.0.0.1" }, udp())), undefined],
  ["a client without address", ethernet({}, ipv4({ ...ends, source: "0.0.0.0" }, udp())), undefined],
  ["loopback", ethernet({}, ipv6({ source: "::1" }, udp())), undefined],
])("%s is answered as it may be", (_, frame, answer) => {
  const policy = policyOf(firewall("edge", [{ action: "reject" }]));
  const model = prepareModel({ policy, interfaceName: "eth0", interfaces: ["eth0"], now: 0 });
  const judged = model.judgeFrame(frame);
  expect(judged).toMatchObject({
    verdict: "reject",
    reason: answer === undefined ? "reject-silent" : "reject",
  });
  expect(judged.answer).toBe(answer);
});
