// Conntrack documents: what becomes of them in tables, bindings and words, and what is wrong with them.
import { expect, test } from "vitest";
import { CtSetting, CtState, ctSettingRecordCodec, interfaceBindingCodec } from "../../src/abi/index.ts";
import { formatDiagnostic, formatDuration, parseDuration } from "../../src/base/index.ts";
import { compilePolicy, idRangesFor } from "../../src/compile/index.ts";
import { kinds } from "../../src/kinds/index.ts";
import { parsePolicy, selectForNode } from "../../src/policy/index.ts";

const host = ["lan0", "wan0", "wan1"].map((name, i) => ({ name, index: i + 1 }));

function compile(...documents: string[]) {
  const text = documents.map((spec, i) =>
    [
      "apiVersion: penstock/v1",
      "kind: Conntrack",
      `metadata: { name: track-${i} }`,
      `spec: ${spec}`,
      "",
    ].join("\n"),
  );
  const group =
    "apiVersion: penstock/v1\nkind: InterfaceGroup\nmetadata: { name: wan }\nspec: { interfaces: [wan*] }\n";
  const files = [
    { path: "policies/a.yaml", content: new TextEncoder().encode([group, ...text].join("---\n")) },
  ];
  const parsed = parsePolicy(files);
  const { desired, diagnostics } = compilePolicy({
    policy: selectForNode(parsed.checkable, {}),
    kinds,
    interfaces: host,
    knownIds: [],
    idRanges: idRangesFor(16),
    now: 0,
  });
  return {
    desired,
    findings: [...parsed.diagnostics, ...diagnostics].map((d) => formatDiagnostic(d).replace(/^\S+ /, "")),
  };
}

test("a document is a slot, and its interfaces' bindings and programs", () => {
  const { desired, findings } = compile(
    "{ interfaces: [wan], pickUp: true, timeouts: { tcp: { established: 2h } } }",
  );
  expect(findings).toEqual([]);
  const table = desired.tables.get("ct_settings");
  const record = ctSettingRecordCodec.decode(table?.payloads ?? new Uint8Array());
  expect(table?.count).toBe(1);
  expect(record).toMatchObject({ flags: CtSetting["pick-up"], present: 1 });
  expect(record.timeoutsS[CtState.established]).toBe(7200);
  expect(record.timeoutsS[CtState["syn-sent"]]).toBe(30);
  expect(record.timeoutsS[CtState.ended]).toBe(0);
  const bindings = desired.tables.get("interfaces");
  expect(bindings?.count).toBe(2);
  expect(interfaceBindingCodec.decode((bindings?.payloads ?? new Uint8Array()).slice(0, 16)).conntrack).toBe(
    1,
  );
  expect(desired.attachments.map(({ program, interface: name }) => `${program} ${name}`)).toEqual([
    "tc_conntrack_egress wan0",
    "tc_conntrack_ingress wan0",
    "tc_conntrack_egress wan1",
    "tc_conntrack_ingress wan1",
  ]);
});

test("an interface is tracked by one document", () => {
  const { findings } = compile("{ interfaces: [wan] }", "{ interfaces: [lan0, wan1] }");
  expect(findings).toEqual([
    'error tracked-twice connections on wan1 are tracked by "track-0" already; an interface takes the settings of one Conntrack document',
  ]);
});

test("a timeout has a bound", () => {
  const { findings } = compile("{ interfaces: [wan], timeouts: { udp: { new: 31d } } }");
  expect(findings).toEqual(["error timeout-too-long a timeout is at most 30d"]);
});

test("every standard of the schema is the one that applies", async () => {
  const { timeoutFields } = await import("../../src/kinds/conntrack/timeouts.ts");
  const { default: schema } = await import("../../schema/conntrack.schema.json", { with: { type: "json" } });
  const tcp: Readonly<Record<string, { readonly default: string }>> = schema.$defs.tcpTimeouts.properties;
  const inTcp = timeoutFields.filter(({ section }) => section === "tcp");
  expect(Object.keys(tcp)).toEqual(inTcp.map(({ field }) => field));
  expect(Object.values(tcp).map((field) => parseDuration(field.default))).toEqual(
    inTcp.map(({ standard }) => parseDuration(standard)),
  );
});

test.each([
  ["1s", 1],
  ["90s", 90],
  ["2m", 120],
  ["3h", 10800],
  ["30d", 2592000],
])("%s", (text, seconds) => {
  expect(parseDuration(text)).toBe(seconds);
  expect(formatDuration(seconds)).toBe(text);
});
