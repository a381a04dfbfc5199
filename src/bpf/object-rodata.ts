// Constants of a program (`const volatile` variables in C) are set in the object's .rodata before it is loaded,
// so that the verifier sees them as constants. Where a variable lies and how large it is, the object's BTF says.
import { PenstockError } from "../base/index.ts";
import { type Handle, libbpf } from "./libbpf.ts";
import { viewMemory } from "./libc.ts";

/** Integers are written in the size of the variable; bytes must have exactly its size. */
export type RodataValue = number | bigint | boolean | Uint8Array;

interface Variable {
  readonly offset: number;
  readonly size: number;
}

const KIND_DATASEC = 15;
const VARINFO_BYTES = 12;

/** Sets variables of the opened, not yet loaded object. Throws `object-mismatch` for what is not there. */
export function writeRodata(
  object: Handle,
  path: string,
  values: Readonly<Record<string, RodataValue>>,
): void {
  const entries = Object.entries(values);
  if (entries.length === 0) return;
  const memory = openRodata(object, path);
  const variables = listVariables(object);
  for (const [name, value] of entries) {
    const variable = variables.get(name);
    if (variable === undefined) throw mismatch(path, `it has no constant ${name} in .rodata`);
    const bytes = encodeValue(value, variable.size);
    if (bytes === undefined || variable.offset + variable.size > memory.length) {
      throw mismatch(path, `constant ${name} has ${variable.size} bytes and cannot take ${String(value)}`);
    }
    memory.set(bytes, variable.offset);
  }
}

/** Code `object-mismatch`: the object file is not the one that this program was written for. */
export function mismatch(path: string, state: string): PenstockError {
  return new PenstockError({
    code: "object-mismatch",
    disposition: "stalled",
    message: `Cannot use object ${path}: ${state}`,
    remedy: "Install the object files and the agent of one release",
    data: { object: path },
  });
}

function openRodata(object: Handle, path: string): Uint8Array {
  const lib = libbpf();
  const size = new BigUint64Array(1);
  for (let map = lib.bpf_object__next_map(object, null); map; map = lib.bpf_object__next_map(object, map)) {
    if (!lib.bpf_map__is_internal(map) || !lib.bpf_map__name(map).endsWith(".rodata")) continue;
    const address = lib.bpf_map__initial_value(map, new Uint8Array(size.buffer));
    if (address !== null) return new Uint8Array(viewMemory(address, Number(size[0])));
  }
  throw mismatch(path, "it has no .rodata");
}

// struct btf_type { name_off, info, size }, then per variable { type, offset, size }; all 32 bits.
function listVariables(object: Handle): ReadonlyMap<string, Variable> {
  const lib = libbpf();
  const btf = lib.bpf_object__btf(object);
  const section = lib.btf__type_by_id(
    btf,
    Math.max(lib.btf__find_by_name_kind(btf, ".rodata", KIND_DATASEC), 0),
  );
  const variables = new Map<string, Variable>();
  if (section === null) return variables;
  const count = new DataView(viewMemory(section, VARINFO_BYTES)).getUint32(4, true) & 0xffff;
  const infos = new DataView(viewMemory(section + 12n, Math.max(count, 1) * VARINFO_BYTES));
  for (let i = 0; i < count; i++) {
    const type = lib.btf__type_by_id(btf, infos.getUint32(i * VARINFO_BYTES, true));
    if (type === null) continue;
    const name = lib.btf__name_by_offset(btf, new DataView(viewMemory(type, 4)).getUint32(0, true));
    const offset = infos.getUint32(i * VARINFO_BYTES + 4, true);
    if (name !== null) variables.set(name, { offset, size: infos.getUint32(i * VARINFO_BYTES + 8, true) });
  }
  return variables;
}

function encodeValue(value: RodataValue, size: number): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value.length === size ? value : undefined;
  if (![1, 2, 4, 8].includes(size)) return undefined;
  const number = BigInt(value);
  const bits = BigInt(size * 8);
  if (number < -(1n << (bits - 1n)) || number >= 1n << bits) return undefined;
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, number), true);
  return bytes.subarray(0, size);
}
