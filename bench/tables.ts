// The two kinds of large table, each with everything between parsed policy and the kernel: address sets in a trie, by
// the product's own kinds and datapath, and hosts in a hash, by a program of the benchmark's own.
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { readObjectAbi } from "../src/abi/index.ts";
import { parsePrefix, systemClock } from "../src/base/index.ts";
import { type BpfMap, datapathObjects, openDatapath } from "../src/bpf/index.ts";
import { objectDirectory } from "../src/cli/places.ts";
import {
  compilePolicy,
  type DesiredState,
  idRangesFor,
  type KindDefinition,
  PackedTableBuilder,
  type TableSpec,
} from "../src/compile/index.ts";
import { tableSpec } from "../src/compile/spec.ts";
import { capacitiesFor, kinds, policyTables } from "../src/kinds/index.ts";
import { type PolicySet, parsePolicy } from "../src/policy/index.ts";
import {
  appliedEntries,
  type Datapath,
  knownIds,
  makePlan,
  type ObservedState,
  observe,
  type Plan,
  runTransaction,
  type TransactionResult,
} from "../src/reconcile/index.ts";
import { compileObject } from "../test/fixtures/bpf-compiler.ts";
import { TablesDatapath } from "../test/fixtures/tables-datapath.ts";
import type { ListStyle } from "./addresses.ts";
import { folder, pinDirectory } from "./places.ts";

export type TableName = "hash" | "lpm";

/** A large table, empty at first. */
export interface LargeTable {
  readonly style: ListStyle;
  readonly datapath: Datapath;
  readonly kinds: readonly KindDefinition[];
  readonly spec: TableSpec;
  readonly map: BpfMap;
  /** Policy that was parsed, in memory; what it means is found out by the function that is returned. */
  parse(list: readonly string[]): (observed: ObservedState) => DesiredState;
  close(): void;
}

/** Opens one with room for this many entries. */
export async function openLargeTable(name: TableName, capacity: number): Promise<LargeTable> {
  return name === "hash" ? openHosts(capacity) : openAddressSets(capacity);
}

const rulesMax = 1024;

async function openAddressSets(addressesMax: number): Promise<LargeTable> {
  const datapath = await openDatapath({
    objects: datapathObjects(objectDirectory),
    pinDirectory,
    tables: policyTables,
    maxEntries: capacitiesFor({ rulesMax, addressesMax, interfacesMax: 64, connectionsMax: 1024 }),
    eventsPerSecondMax: 1000,
    rejectsPerSecondMax: 1000,
  });
  const spec = policyTables.find((table) => table.name === "address_set_v4") as TableSpec;
  return {
    style: "networks",
    datapath,
    kinds,
    spec,
    map: datapath.object.map(spec.name),
    parse(list) {
      const policy = parseAddressSets(list);
      return (observed) => {
        const compiled = compilePolicy({
          policy,
          kinds,
          interfaces: [],
          knownIds: knownIds(observed),
          idRanges: idRangesFor(rulesMax),
          now: 0,
        });
        if (compiled.diagnostics.length > 0) throw new Error(compiled.diagnostics[0]?.message);
        return compiled.desired;
      };
    },
    close() {
      datapath.uninstall();
      datapath.close();
    },
  };
}

/** A file with one address set, as a policy repository holds it. */
export function addressSetFile(name: string, list: readonly string[], format: "json" | "yaml") {
  const head = { apiVersion: "penstock/v1", kind: "AddressSet", metadata: { name } };
  const text =
    format === "json"
      ? JSON.stringify({ ...head, spec: { prefixes: list } })
      : [
          "apiVersion: penstock/v1",
          "kind: AddressSet",
          `metadata: { name: ${name} }`,
          "spec:",
          "  prefixes:",
          ...list.map((prefix) => `    - ${prefix}`),
          "",
        ].join("\n");
  return { path: `policies/${name}.${format}`, content: new TextEncoder().encode(text) };
}

/** Two sets, since one holds a million at most and shall grow. Each address stays in its set. */
function parseAddressSets(list: readonly string[]): PolicySet {
  const isEven = (address: string) => Number(address.split(".")[2]) % 2 === 0;
  const even = addressSetFile("even", list.filter(isEven), "json");
  const odd = addressSetFile(
    "odd",
    list.filter((address) => !isEven(address)),
    "json",
  );
  const { policy, diagnostics } = parsePolicy([even, odd]);
  if (diagnostics.length > 0) throw new Error(diagnostics[0]?.message);
  return policy;
}

function openHosts(capacity: number): LargeTable {
  const path = join(folder, "keyed.bpf.o");
  compileObject(fileURLToPath(new URL("./keyed.bpf.c", import.meta.url)), path);
  const layout = readObjectAbi(basename(path), readFileSync(path)).maps["hosts"];
  if (layout === undefined) throw new Error("keyed.bpf.c has no table hosts");
  const spec = tableSpec(layout, { shape: "keyed", presence: "present" });
  const datapath = new TablesDatapath(path, { tables: [spec], maxEntries: { hosts: capacity } });
  return {
    style: "hosts",
    datapath,
    kinds: [],
    spec,
    map: datapath.object.map("hosts"),
    parse: (list) => () => hostsOf(spec, list),
    close: () => datapath.close(),
  };
}

/** What a kind would make of a list of hosts. */
function hostsOf(spec: TableSpec, list: readonly string[]): DesiredState {
  const builder = new PackedTableBuilder(spec);
  const payload = new Uint8Array(new Uint32Array([1, 7]).buffer);
  for (const text of list) {
    const parsed = parsePrefix(text);
    if (!parsed.ok) throw new Error(parsed.message);
    builder.add(parsed.value.bytes, payload, 0);
  }
  return {
    tables: new Map([[spec.name, builder.build()]]),
    attachments: [],
    origins: [undefined],
    validUntil: Number.POSITIVE_INFINITY,
    names: [],
  };
}

/** One revision brought into force, and how long each step took in milliseconds. */
export interface Applied {
  readonly desired: DesiredState;
  readonly plan: Plan;
  readonly result: TransactionResult;
  readonly compileMs: number;
  readonly observeMs: number;
  readonly planMs: number;
  /** From parsed policy to the store of the commit. */
  readonly toCommittedMs: number;
  /** The transaction without its wait for packets of the old generation. */
  readonly transactionMs: number;
}

/** Brings a list into force as the agent does, from parsed policy on. */
export async function applyList(
  table: LargeTable,
  desiredFrom: (observed: ObservedState) => DesiredState,
): Promise<Applied> {
  const { datapath } = table;
  const started = performance.now();
  const observed = await observe(datapath);
  const seen = performance.now();
  const desired = desiredFrom(observed);
  const compiled = performance.now();
  const plan = await planFor(table, observed, desired);
  const planned = performance.now();
  const result = await runTransaction(datapath, plan.transaction, { clock: systemClock });
  const { prepare, readBack, commit, settle } = result.timingsMs;
  return {
    desired,
    plan,
    result,
    observeMs: seen - started,
    compileMs: compiled - seen,
    planMs: planned - compiled,
    toCommittedMs: planned - started + prepare + readBack + commit,
    transactionMs: prepare + readBack + commit + settle,
  };
}

/** Each desired state is another revision. */
const commits = new WeakMap<DesiredState, string>();
let commitsMade = 0;

/** The plan from what is observed to what is desired: empty after it was applied. */
export function planFor(
  { datapath, kinds }: LargeTable,
  observed: ObservedState,
  desired: DesiredState,
): Promise<Plan> {
  const commit = commits.get(desired) ?? (++commitsMade).toString(16).padStart(40, "0");
  commits.set(desired, commit);
  const applied = appliedEntries({ commit, held: undefined, timeS: 1 });
  return makePlan({ desired, observed, datapath, kinds, applied, interfaces: [] });
}
