// What a lookup costs: in plain maps, with versions, and with versions and sums; and what it costs to hand a
// generation on from XDP. Medians over several runs of the programs of lookup.bpf.c, less what a program costs that
// looks nothing up.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ObjectAbi, readObjectAbi } from "../src/abi/index.ts";
import { type BpfObject, createTestRunner, openObject } from "../src/bpf/index.ts";
import { type TableSpec, tableSpec } from "../src/compile/index.ts";
import { seal, viewOf } from "../src/reconcile/versions.ts";
import { compileObject } from "../test/fixtures/bpf-compiler.ts";
import type { Report, Row } from "./report.ts";

const source = fileURLToPath(new URL("./lookup.bpf.c", import.meta.url));
const sizes = [1024, 65_536];
const repeat = 200_000;
const rounds = 15;
/** Lookups of one run; LOOKUPS of the C side. */
const lookups = 8;

export async function benchLookup(): Promise<Report> {
  const folder = mkdtempSync(join(tmpdir(), "pk-bench-"));
  const paths = { sums: join(folder, "sums.o"), unchecked: join(folder, "unchecked.o") };
  try {
    compileObject(source, paths.sums);
    compileObject(source, paths.unchecked, ["PENSTOCK_UNCHECKED"]);
    const rows: Row[] = [];
    for (const size of sizes) rows.push(...(await benchSize(paths, size)));
    return { tables: { "what a lookup costs": rows }, targets: [], notes: [] };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function benchSize(paths: { sums: string; unchecked: string }, size: number): Promise<Row[]> {
  const [sums, unchecked] = [await load(paths.sums, size), await load(paths.unchecked, size)];
  const programs: [string, BpfObject, string][] = [
    ["nothing", sums, "xdp_nothing"],
    ["hash, plain", sums, "xdp_plain_keyed"],
    ["hash, versions", unchecked, "xdp_keyed"],
    ["hash, versions and sums", sums, "xdp_keyed"],
    ["trie, plain", sums, "xdp_plain_prefix"],
    ["trie, versions", sums, "xdp_prefix"],
    ["generation read", sums, "xdp_reads"],
    ["generation read, handed on, taken off", sums, "xdp_hands_on"],
  ];
  const ns = measure(programs.map(([, object, program]) => createTestRunner(object.program(program))));
  const [nothing = 0, ...each] = ns;
  const rows = programs.slice(1).map(([what], i): Row => {
    const total = each[i] ?? 0;
    if (what.startsWith("generation")) return { what, entries: "", ns: round(total), "times plain": "" };
    const plain = each[what.startsWith("hash") ? 0 : 3] ?? 0;
    const per = (total - nothing) / lookups;
    return { what, entries: size, ns: round(per), "times plain": round(per / ((plain - nothing) / lookups)) };
  });
  for (const object of [sums, unchecked]) object.close();
  return size === sizes[0] ? rows : rows.filter(({ entries }) => entries !== "");
}

/** In turn, so that whatever slows the machine down slows all of them down. */
function measure(runners: readonly ReturnType<typeof createTestRunner>[]): number[] {
  const frame = new Uint8Array(64);
  const found = runners.map((): number[] => []);
  for (let round = 0; round < rounds; round++)
    for (const [i, runner] of runners.entries()) found[i]?.push(runner.run(frame, { repeat }).durationNs);
  return found.map((times) => times.sort((a, b) => a - b)[Math.floor(rounds / 2)] ?? 0);
}

/** Loads the object and fills its four tables with the same keys. */
async function load(path: string, size: number): Promise<BpfObject> {
  const abi = readObjectAbi("lookup", readFileSync(path));
  const maxEntries = { plain_keyed: size, plain_prefix: size, keyed: size, prefix: size };
  const object = openObject(path, { maxEntries, rodata: { keys_mask: size - 1 } });
  for (const shape of ["keyed", "prefix"] as const) {
    const spec = specOf(abi, shape);
    const keys = new Uint8Array(size * spec.keySize);
    const values = new Uint8Array(size * spec.valueSize);
    const payloads = new Uint8Array(size * spec.payloadSize);
    const [keyView, view] = [viewOf(keys), viewOf(values)];
    for (let number = 0; number < size; number++) {
      const key = number * spec.keySize;
      const value = number * spec.valueSize;
      keyView.setUint32(key, shape === "keyed" ? number : 32, true);
      keyView.setUint32(key + 4, shape === "keyed" ? 0 : number, true);
      const payload = payloads.subarray(number * spec.payloadSize, (number + 1) * spec.payloadSize);
      viewOf(payload).setUint32(0, number, true);
      payload[spec.presenceOffset] = 1;
      values.set(payload, value + spec.sideOffset);
      seal(spec, { keys: keyView, key, values: view, value }, { since: 0, side: 0 });
    }
    await object.map(shape).updateAll(keys, values);
    await object.map(`plain_${shape}`).updateAll(keys, payloads);
  }
  return object;
}

function specOf(abi: ObjectAbi, shape: "keyed" | "prefix"): TableSpec {
  const map = abi.maps[shape];
  if (map === undefined) throw new Error(`the object has no map ${shape}`);
  return tableSpec(map, { shape, presence: "presence" });
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
