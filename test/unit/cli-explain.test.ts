// explain on a folder: the question as it is typed, the verdict, and the very lines of policy that decide.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseQuestion, readWords } from "../../src/cli/question.ts";
import { UsageError } from "../../src/cli/usage.ts";
import { runCli } from "./cli-terminal.ts";

const ssh = ["-i", "eth0", "-p", "tcp", "-s", "192.0.2.7", "-d", "203.0.113.1", "--destination-port", "22"];

async function explain(words: readonly string[], dir = "policies") {
  const { code, out, err } = await runCli(["explain", "--dir", dir, ...words, "-o", "json"]);
  expect(err).toBe("");
  expect(code).toBe(0);
  return JSON.parse(out);
}

describe("the policy that ships", () => {
  test("passes the office's SSH by a rule, with its place and its text", async () => {
    expect(await explain(ssh)).toEqual({
      policy: "policies",
      packet: "tcp 192.0.2.7 -> 203.0.113.1:22 on eth0",
      verdict: "pass",
      reason: "rule-pass",
      answer: null,
      mark: null,
      dscp: null,
      state: "new",
      limits: { connectionsPerSource: 20, block: "10m" },
      trackedBy: "uplinks",
      rule: {
        rule: "edge/office-ssh",
        file: "policies/edge.yaml",
        line: 39,
        text: [
          "- name: office-ssh",
          "  action: pass",
          "  log: true",
          "  match:",
          "    protocol: tcp",
          "    source: { sets: [office, operators] }",
          "    destinationPorts: [22]",
          "  limits: { connectionsPerSource: 20, block: 10m }",
          "  owner: netops",
        ],
        wouldBe: null,
      },
      route: null,
      logged: [],
      passedOverForPorts: [],
    });
  });

  test("says what a rule on trial would do, apart from what is done", async () => {
    const view = await explain([...ssh.slice(0, -1), "80"]);
    expect(view).toMatchObject({ verdict: "pass", rule: { rule: "edge/web" } });
    expect(view.logged).toMatchObject([{ rule: "edge-trial/no-plain-web", wouldBe: "drop", line: 11 }]);
  });

  test("drops what no rule decides", async () => {
    expect(await explain([...ssh.slice(0, -1), "8080"])).toMatchObject({
      verdict: "drop",
      reason: "default-drop",
      rule: null,
    });
  });

  test("names the rules that a later fragment passes by", async () => {
    const view = await explain([...ssh.slice(0, 8), "--fragment", "later"]);
    expect(view.passedOverForPorts.map((r: { rule: string }) => r.rule)).toContain("edge/office-ssh");
  });

  test("knows another interface only as unbound", async () => {
    expect(await explain(["-i", "eth9", ...ssh.slice(2)])).toMatchObject({
      verdict: "pass",
      reason: "unbound",
    });
  });

  test("depends on the labels of the host", async () => {
    const words = ["-i", "eth1", ...ssh.slice(2)];
    expect(await explain(words)).toMatchObject({ reason: "unbound" });
    expect(await explain([...words, "--label", "role=edge"])).toMatchObject({ verdict: "drop" });
  });
});

describe("a packet in bytes", () => {
  test("that is cut off is malformed", async () => {
    expect(await explain(["-i", "eth0", "--packet", "0200 0000"])).toMatchObject({
      verdict: "drop",
      reason: "truncated-ethernet",
      packet: "frame of 4 bytes on eth0",
    });
  });

  test("is read like any other", async () => {
    const ethernet = "02:00:00:00:00:02:02:00:00:00:00:01:08:00";
    const ip = "45000028 00010000 4006 0000 c0000207 cb007101";
    const tcp = "c000 0016 00000001 00000000 5002 2000 0000 0000";
    expect(await explain(["-i", "eth0", "--packet", `${ethernet} ${ip} ${tcp}`])).toMatchObject({
      verdict: "pass",
      rule: { rule: "edge/office-ssh" },
    });
  });
});

describe("in words", () => {
  const lines = async (...words: string[]) => {
    const { out } = await runCli(["explain", "--dir", "policies", ...words]);
    return out.split("\n").filter((line) => /^(Verdict|Limits|State)/.test(line));
  };

  test.each<[string, readonly string[], readonly string[]]>([
    [
      "a rule with limits",
      ssh,
      [
        "Verdict  PASS, by a rule (rule-pass)",
        "Limits   dropped if its source has 20 connections by this rule already, and its source blocked for 10m",
        "State    tracked by uplinks: once answered, its connection passes without rules",
      ],
    ],
    [
      "an established connection",
      [...ssh, "--state", "established"],
      [
        "Verdict  PASS, as one of a connection that was let through: no rule is asked (established)",
        "State    tracked by uplinks: rules are met again after a commit, or to mark or route; --state new says how they decide",
      ],
    ],
    [
      "what fits no connection",
      [...ssh, "--state", "invalid"],
      ["Verdict  DROP, by a rule (rule-drop)", "State    tracked by uplinks"],
    ],
  ])("%s", async (_, words, expected) => {
    expect(await lines(...words)).toEqual(expected);
  });
});

describe("what few rules ask for", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "penstock-explain-"));
    const matches = {
      flags: { tcpFlags: "syn/syn,ack" },
      type: { protocol: "icmpv6", icmp: [{ type: "destination-unreachable", code: 4 }] },
      dscp: { dscp: "ef" },
      length: { length: "41-99" },
      vlan: { vlan: { outer: 100, inner: 10 } },
      macs: { sourceMac: ["02:00:00:00:00:0A"], destinationMac: { macs: ["02:00:00:00:00:0b"], not: true } },
      state: { state: "invalid" },
    };
    const rules = Object.entries(matches).map(([name, match]) => ({ name, action: "pass", match }));
    const document = { apiVersion: "penstock/v1", kind: "Firewall", metadata: { name: "a" } };
    const tracked = { ...document, kind: "Conntrack", spec: { interfaces: ["eth0"] } };
    writeFileSync(join(folder, "tracked.json"), JSON.stringify(tracked));
    writeFileSync(
      join(folder, "a.json"),
      JSON.stringify({ ...document, spec: { interfaces: ["eth0"], default: "drop", rules } }),
    );
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const four = ["-i", "eth0", "-p", "tcp", "-s", "192.0.2.7", "-d", "203.0.113.1"];
  const six = ["-i", "eth0", "-p", "icmpv6", "-s", "2001:db8::1", "-d", "2001:db8::2"];
  const way = "tcp 192.0.2.7 -> 203.0.113.1 on eth0";
  const rows: [string, string[], string][] = [
    ["a/flags", [...four, "--tcp-flags", "syn,ece"], `${way}, flags syn,ece`],
    [
      "a/type",
      [...six, "--icmp", "destination-unreachable/4"],
      "icmpv6 2001:db8::1 -> 2001:db8::2 on eth0, type 1/4",
    ],
    ["a/dscp", [...four, "--dscp", "46"], `${way}, dscp ef`],
    ["a/length", [...four, "--length", "99"], `${way}, 99 bytes`],
    ["a/vlan", [...four, "--vlan", "100,10"], `${way}, vlan 100,10`],
    [
      "a/macs",
      [...four, "--source-mac", "02:00:00:00:00:0a", "--destination-mac", "02:00:00:00:00:0C"],
      `${way}, from 02:00:00:00:00:0a, to 02:00:00:00:00:0c`,
    ],
    ["a/state", [...four, "--state", "invalid"], `${way}, invalid`],
  ];
  test.each(rows)("%s", async (rule, words, packet) => {
    expect(await explain(words, folder)).toMatchObject({ packet, rule: { rule } });
  });

  test("of an established connection is let through, whatever the rules say", async () => {
    const view = await explain([...four, "--state", "established"], folder);
    expect(view).toMatchObject({ verdict: "pass", reason: "established", rule: null, trackedBy: "a" });
    const later = [...four, "--fragment", "later", "--state", "established"];
    expect(await explain(later, folder)).toMatchObject({ verdict: "drop", reason: "default-drop" });
    const cutOff = ["-i", "eth0", "--packet", "0200 0000", "--state", "established"];
    expect(await explain(cutOff, folder)).toMatchObject({ reason: "truncated-ethernet" });
  });

  test("meets no rule where it is not said", async () => {
    expect(await explain(four, folder)).toMatchObject({ reason: "default-drop" });
    expect(await explain([...six, "--icmp", "1"], folder)).toMatchObject({ reason: "default-drop" });
  });
});

test("text for people has verdict, place and rule", async () => {
  const { out } = await runCli(["explain", "--dir", "policies", ...ssh]);
  expect(out).toBe(
    [
      "Packet   tcp 192.0.2.7 -> 203.0.113.1:22 on eth0",
      "Policy   policies",
      "Verdict  PASS, by a rule (rule-pass)",
      "Limits   dropped if its source has 20 connections by this rule already, and its source blocked for 10m",
      "State    tracked by uplinks: once answered, its connection passes without rules",
      "",
      "Decided by edge/office-ssh  policies/edge.yaml:39",
      "    - name: office-ssh",
      "      action: pass",
      "      log: true",
      "      match:",
      "        protocol: tcp",
      "        source: { sets: [office, operators] }",
      "        destinationPorts: [22]",
      "      limits: { connectionsPerSource: 20, block: 10m }",
      "      owner: netops",
      "",
    ].join("\n"),
  );
});

describe("the text of a rule", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "penstock-explain-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("in JSON ends with its closing brace", async () => {
    const rules = [
      { name: "one", action: "pass", match: { protocol: "udp" } },
      { name: "two", action: "drop", match: { protocol: "tcp" } },
    ];
    const document = {
      apiVersion: "penstock/v1",
      kind: "Firewall",
      metadata: { name: "a" },
      spec: { interfaces: ["eth0"], rules },
    };
    writeFileSync(join(folder, "a.json"), JSON.stringify(document, undefined, 2));
    const { rule } = await explain(ssh, folder);
    expect(rule.text.join("\n")).toBe(`${JSON.stringify(rules[1], undefined, 2)}`);
  });

  test("of wrong policy is not shown: the findings are", async () => {
    writeFileSync(join(folder, "b.yaml"), "kind: Firewal\n");
    const { code, err } = await runCli(["explain", "--dir", folder, ...ssh]);
    expect(code).toBe(1);
    expect(err).toMatch(/b\.yaml:1:7 error unknown-kind [\s\S]*Error: Cannot explain a packet under /);
  });
});

describe("refuses as wrong usage", () => {
  const good = { interface: "eth0", protocol: "tcp", source: "192.0.2.1", destination: "192.0.2.2" };
  const rows = [
    { name: "no interface", words: { ...good, interface: "" } },
    { name: "no source", words: { interface: "eth0", protocol: "tcp", destination: "192.0.2.2" } },
    { name: "an address that is none", words: { ...good, source: "192.0.2.01" } },
    { name: "two families", words: { ...good, destination: "2001:db8::1" } },
    { name: "an unknown protocol", words: { ...good, protocol: "tpc" } },
    { name: "a protocol beyond 255", words: { ...good, protocol: "256" } },
    { name: "a port beyond 65535", words: { ...good, destinationPort: "65536" } },
    {
      name: "a port without a protocol that has them",
      words: { ...good, protocol: "icmp", destinationPort: "1" },
    },
    { name: "a port of a later fragment", words: { ...good, fragment: "later", sourcePort: "1" } },
    { name: "flags of what is not TCP", words: { ...good, protocol: "udp", tcpFlags: "syn" } },
    { name: "a flag that is none", words: { ...good, tcpFlags: "syn,sin" } },
    { name: "flags of a later fragment", words: { ...good, fragment: "later", tcpFlags: "syn" } },
    { name: "a type of what is not ICMP", words: { ...good, icmp: "8" } },
    { name: "ICMPv6 over IPv4", words: { ...good, protocol: "icmpv6", icmp: "128" } },
    { name: "a type that only ICMPv6 has", words: { ...good, protocol: "icmp", icmp: "packet-too-big" } },
    { name: "a type that every object has", words: { ...good, protocol: "icmp", icmp: "constructor" } },
    { name: "a code beyond 255", words: { ...good, protocol: "icmp", icmp: "3/256" } },
    { name: "a DSCP beyond 63", words: { ...good, dscp: "64" } },
    { name: "a packet that is too long", words: { ...good, length: "65576" } },
    { name: "three tags", words: { ...good, vlan: "1,2,3" } },
    { name: "a tag beyond 4095", words: { ...good, vlan: "4096" } },
    { name: "half a hardware address", words: { ...good, sourceMac: "02:00:00" } },
    { name: "a state that is none", words: { ...good, state: "old" } },
    { name: "half a byte", words: { interface: "eth0", packet: "020" } },
    { name: "a frame of any length", words: { interface: "eth0", packet: "00".repeat(20_000) } },
  ];
  test.each(rows)("$name", ({ words }) => {
    expect(() => parseQuestion(words)).toThrow(UsageError);
  });

  test("but what is over the socket only counts if it is text", () => {
    expect(readWords({ ...good, sourcePort: 5, other: "x" })).toEqual(good);
    expect(readWords("nothing")).toEqual({});
    expect(readWords(null)).toEqual({});
  });
});
