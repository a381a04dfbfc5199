// What documents say about processors: lists by interface, queues, words, and what is wrong with them.
import { expect, test } from "vitest";
import { fwSteeringCodec, interfaceBindingCodec } from "../../src/abi/index.ts";
import { formatDiagnostic } from "../../src/base/index.ts";
import { parseNumberList } from "../../src/bpf/interfaces.ts";
import { compilePolicy, type DesiredState, idRangesFor } from "../../src/compile/index.ts";
import { kinds } from "../../src/kinds/index.ts";
import { type FirewallSteering, parsePolicy, selectForNode } from "../../src/policy/index.ts";
import { firewall, interfaceGroup, policyOf } from "../fixtures/firewall-documents.ts";
import { filesOf } from "../fixtures/test-datapath.ts";

const processorsNear = (...near: readonly number[]) =>
  [0, 1, 2, 3].map((number) => ({ number, isNear: near.includes(number) }));
const interfaces = [
  { name: "eth0", index: 2, processors: processorsNear(0, 1) },
  { name: "eth1", index: 3, processors: processorsNear(2, 3) },
];

function compile(...each: readonly FirewallSteering[]) {
  const documents = each.map((steering, i) => firewall(`f${i}`, [], { interfaces: ["all"], steering }));
  const parsed = parsePolicy(filesOf(policyOf(interfaceGroup("all", ["eth*"]), ...documents)));
  const { desired, diagnostics } = compilePolicy({
    policy: selectForNode(parsed.checkable, {}),
    kinds,
    interfaces,
    knownIds: [],
    idRanges: idRangesFor(256),
    now: 0,
  });
  return { desired, findings: [...parsed.diagnostics, ...diagnostics].map(formatDiagnostic) };
}

function entriesOf(desired: DesiredState, name: string) {
  const { keys, payloads, spec, count } = desired.tables.get(name) ?? expect.fail(`no ${name}`);
  return Array.from({ length: count }, (_, i) => ({
    key: new DataView(keys.buffer, keys.byteOffset).getUint32(i * spec.keySize, true),
    payload: payloads.slice(i * spec.payloadSize, (i + 1) * spec.payloadSize),
  }));
}

function listsOf(desired: DesiredState): readonly (readonly number[])[] {
  const lists = new Map(
    entriesOf(desired, "fw_steering").map(({ key, payload }) => {
      const { cpus, count } = fwSteeringCodec.decode(payload);
      return [key, cpus.slice(0, count)];
    }),
  );
  const bindings = entriesOf(desired, "interfaces").map(({ payload }) =>
    interfaceBindingCodec.decode(payload),
  );
  return bindings.map(({ steering }) => lists.get(steering) ?? []);
}

test.each<readonly [FirewallSteering["cpus"], readonly (readonly number[])[], readonly number[]]>([
  [
    "all",
    [
      [0, 1, 2, 3],
      [0, 1, 2, 3],
    ],
    [0, 1, 2, 3],
  ],
  [
    "local",
    [
      [0, 1],
      [2, 3],
    ],
    [0, 1, 2, 3],
  ],
  [
    [3, 0],
    [
      [0, 3],
      [0, 3],
    ],
    [0, 3],
  ],
])("interfaces have the processors that the policy names: %j", (cpus, lists, queues) => {
  const { desired, findings } = compile({ cpus });
  expect(findings).toEqual([]);
  expect(listsOf(desired)).toEqual(lists);
  expect(entriesOf(desired, "fw_cpus").map(({ key }) => key)).toEqual(queues);
  const named = desired.names.filter(({ space }) => space === "processor");
  expect(named.map(({ id }) => id)).toEqual(queues);
});

test("a processor that is not online is a warning, and has no packets", () => {
  const { desired, findings } = compile({ cpus: [1, 9] });
  expect(findings).toEqual([expect.stringMatching(/warning.*unknown-cpu.*no processor 9 .*0, 1, 2, 3/)]);
  expect(listsOf(desired)).toEqual([[1], [1]]);
});

test("two documents do not spread the packets of one interface", () => {
  const { findings } = compile({ cpus: "all" }, { cpus: "local" });
  expect(findings).toContainEqual(expect.stringMatching(/error.*steered-twice.*eth0.*"f0"/));
});

test("entries in words", () => {
  const { desired } = compile({ cpus: "local" });
  const firewallKind = kinds.find(({ kind }) => kind === "Firewall") ?? expect.fail();
  const words = (table: string) =>
    entriesOf(desired, table).map(({ key, payload }) => {
      const names = { nameOf: () => "f0/eth0", interfaceName: () => undefined };
      const { subject, detail } = firewallKind.describe(
        table,
        new Uint8Array(Uint32Array.of(key).buffer),
        payload,
        names,
      );
      return `${subject}: ${detail}`;
    })[0];
  expect(words("fw_steering")).toBe("steering f0/eth0: over processors 0, 1");
  expect(words("fw_cpus")).toBe("processor 0: a queue of 2048 packets");
});

test("lists of processors as the kernel writes them", () => {
  expect(parseNumberList("0-2,5\n")).toEqual([0, 1, 2, 5]);
  expect(parseNumberList("")).toEqual([]);
});
