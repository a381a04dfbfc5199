// Limits of connections, onChange and the need for somebody who tracks them: records in words, and what is wrong.
import { expect, test } from "vitest";
import { FwRuleFlag, fwRuleCodec } from "../../src/abi/index.ts";
import { formatDiagnostic } from "../../src/base/index.ts";
import { compilePolicy, idRangesFor } from "../../src/compile/index.ts";
import { describeRule } from "../../src/kinds/firewall/describe.ts";
import { kinds } from "../../src/kinds/index.ts";
import {
  type AnyPolicyDocument,
  type Firewall,
  type FirewallRule,
  parsePolicy,
  selectForNode,
} from "../../src/policy/index.ts";
import { firewall, interfaceGroup } from "../fixtures/firewall-documents.ts";

const host = ["eth0", "wan0", "wan1"].map((name, i) => ({ name, index: i + 1 }));

type Content = Pick<AnyPolicyDocument, "kind" | "spec">;

function track(...interfaces: string[]): Content {
  const document = { apiVersion: "penstock/v1", kind: "Conntrack" as const, metadata: { name: "tracked" } };
  return { ...document, spec: { interfaces } };
}

/** Records, the same in words, and findings without their places. */
function compile(documents: readonly Content[], interfaces: typeof host = host) {
  const files = documents.map((document, i) => ({
    path: `policies/${i}.json`,
    content: new TextEncoder().encode(JSON.stringify(document)),
  }));
  const parsed = parsePolicy(files);
  const { desired, diagnostics } = compilePolicy({
    policy: selectForNode(parsed.checkable, {}),
    kinds,
    interfaces,
    knownIds: [],
    idRanges: idRangesFor(256),
    now: 0,
  });
  const table = desired.tables.get("fw_rules");
  const size = fwRuleCodec.size;
  const payloads = Array.from({ length: table?.count ?? 0 }, (_, i) =>
    (table?.payloads ?? new Uint8Array()).slice(i * size, (i + 1) * size),
  );
  const names = { nameOf: () => "eth0", interfaceName: () => undefined };
  return {
    records: payloads.map((payload) => fwRuleCodec.decode(payload)),
    words: payloads.map((payload) => describeRule(payload, names).detail),
    findings: [...parsed.diagnostics, ...diagnostics].map((d) => formatDiagnostic(d).replace(/^\S+ /, "")),
  };
}

const all = { connectionsPerSource: 20, connections: 500, block: "10m" } as const;

test.each<[string, FirewallRule["limits"], string, readonly number[]]>([
  ["of a source", { connectionsPerSource: 20 }, "pass on eth0 at most 20 of a source", [20, 0, 0]],
  ["of all", { connections: 4294967295 }, "pass on eth0 at most 4294967295 of all", [0, 4294967295, 0]],
  [
    "with a block",
    all,
    "pass on eth0 at most 20 of a source, 500 of all, a source that wants more blocked for 10m",
    [20, 500, 600],
  ],
])("a limit %s", (_, limits = {}, words, fields) => {
  const compiled = compile([track("eth0"), firewall("edge", [{ limits }])]);
  expect(compiled).toMatchObject({ words: [words], findings: [] });
  expect(
    compiled.records.map(({ sourceConnections, connections, blockS }) => [
      sourceConnections,
      connections,
      blockS,
    ]),
  ).toEqual([fields]);
});

test("a limit goes with every record of a rule, and with no other rule", () => {
  const sourcePorts = Array.from({ length: 20 }, (_, i) => i * 2);
  const rules: Partial<FirewallRule>[] = [{ limits: all, match: { sourcePorts } }, {}];
  const { records } = compile([track("eth0"), firewall("edge", rules)]);
  expect(records.map(({ blockS }) => blockS)).toEqual([600, 600, 600, 0]);
});

test.each<[string, Partial<FirewallRule>, string]>([
  [
    "limits of what does not pass",
    { action: "drop", limits: { connections: 1 } },
    'error needs-other-action "r0" has the action drop, with which limits means nothing; it belongs to "action: pass"',
  ],
  [
    "a block without a limit of the source",
    { limits: { connections: 1, block: "1m" } },
    'error block-needs-limit a source is blocked for having too many connections, and "r0" does not say how many those are; add connectionsPerSource, or leave block out',
  ],
  [
    "a long block",
    { limits: { connectionsPerSource: 1, block: "31d" } },
    "error block-too-long a block is at most 30d",
  ],
])("%s", (_, rule, finding) => {
  expect(compile([track("eth0"), firewall("edge", [rule])]).findings).toEqual([finding]);
});

test.each<[Firewall["spec"]["onChange"], readonly boolean[], readonly string[]]>([
  [undefined, [true, false, true], ["pass on eth0", "drop on eth0", "pass on eth0"]],
  ["reevaluate", [true, false, true], ["pass on eth0", "drop on eth0", "pass on eth0"]],
  ["keep", [false, false, false], ["pass on eth0 kept", "drop on eth0", "pass on eth0 kept"]],
])("onChange %s marks what passes, the default included", (onChange, marked, expected) => {
  const spec = { default: "pass" as const, ...(onChange !== undefined && { onChange }) };
  const { records, words } = compile([firewall("edge", [{}, { action: "drop" }], spec)]);
  expect(records.map(({ flags }) => (flags & FwRuleFlag.reevaluate) !== 0)).toEqual(marked);
  expect(words).toEqual(expected);
});

const state: Partial<FirewallRule> = { match: { state: "invalid" } };
const wan = interfaceGroup("wan", ["wan*"]);
const untracked = (field: string, where: string, it = "it") =>
  `"r0" has ${field}, and connections on ${where} are not tracked; name ${it} in a Conntrack document, or leave ${field} out`;

test.each<[string, readonly Content[], readonly string[]]>([
  ["a state", [firewall("edge", [state])], [untracked("state", "interface eth0")]],
  ["limits", [firewall("edge", [{ limits: all }])], [untracked("limits", "interface eth0")]],
  [
    "some of a group",
    [wan, track("wan1"), firewall("edge", [state], { interfaces: ["wan"] })],
    [untracked("state", "interface wan0")],
  ],
  [
    "all of a group",
    [wan, firewall("edge", [state], { interfaces: ["wan", "eth0"] })],
    [untracked("state", "interface wan0, interface wan1, interface eth0", "them")],
  ],
  [
    "tracked one by one",
    [wan, track("wan1", "wan0"), firewall("edge", [state], { interfaces: ["wan"] })],
    [],
  ],
  [
    "where the rule does not apply",
    [
      wan,
      track("wan"),
      firewall("edge", [{ match: { state: "new", interfaces: ["wan"] } }], { interfaces: ["wan", "eth0"] }),
      firewall("more", [{ match: { state: "new", interfaces: { groups: ["eth0"], not: true } } }], {
        interfaces: ["wan", "eth0"],
      }),
    ],
    [],
  ],
])("who asks about connections needs them tracked: %s", (_, documents, expected) => {
  expect(compile(documents).findings).toEqual(expected.map((text) => `error needs-conntrack ${text}`));
});

test.each<[string, readonly Content[], readonly string[]]>([
  ["the same name", [track("eth0"), firewall("edge", [state])], []],
  ["a pattern that holds it", [interfaceGroup("all", ["e*"]), track("all"), firewall("edge", [state])], []],
  [
    "a pattern that holds a pattern",
    [wan, interfaceGroup("w", ["w*"]), track("w"), firewall("edge", [state], { interfaces: ["wan"] })],
    [],
  ],
  [
    "a pattern that holds less",
    [wan, interfaceGroup("w", ["wan1*"]), track("w"), firewall("edge", [state], { interfaces: ["wan"] })],
    [untracked("state", '"wan"')],
  ],
  ["nobody", [firewall("edge", [{ limits: all }])], [untracked("limits", '"eth0"')]],
])("without a host names tell, and only warn: %s", (_, documents, expected) => {
  expect(compile(documents, []).findings).toEqual(expected.map((text) => `warning needs-conntrack ${text}`));
});
