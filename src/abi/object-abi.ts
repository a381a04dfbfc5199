// Reads everything from a compiled object that TypeScript shares with it: structs, enums, maps and programs. The
// generator writes these down as source; at load time they are read again and compared with what was written.
import { createHash } from "node:crypto";
import { PenstockError } from "../base/index.ts";
import { type Btf, parseBtf } from "./btf.ts";
import { type ElfObject, parseElf } from "./elf.ts";
import type { EnumLayout, FieldType, MapLayout, ObjectAbi, ProgramLayout, StructLayout } from "./layout.ts";
import { formatType } from "./layout.ts";
import { LayoutReader, unsupported } from "./layout-reader.ts";
import { readMaps } from "./map-reader.ts";

/** A pointer variable of this prefix says that user space needs the type it points to. */
const emitPrefix = "emit_";

/**
 * Reads the object called `object` (its file name without `.bpf.o`). Throws `bad-object` and `bad-btf` for
 * damaged files, `unsupported-layout` for types that have no layout.
 */
export function readObjectAbi(object: string, bytes: Uint8Array): ObjectAbi {
  const elf = parseElf(bytes);
  const section = elf.section(".BTF");
  if (section === undefined) {
    throw new PenstockError({
      code: "bad-object",
      disposition: "stalled",
      message: `Cannot read the types of ${object}: the object has no section .BTF`,
      remedy: "Compile it with -g, as scripts/build-bpf.sh does",
    });
  }
  const btf = parseBtf(section.data);
  const layouts = new LayoutReader(btf);
  const maps = readMaps(btf, layouts);
  readEmitted(btf, layouts);
  return {
    object,
    structs: layouts.structs(),
    enums: layouts.enums(),
    maps: Object.fromEntries(maps.map((map) => [map.name, map])),
    programs: readPrograms(elf, btf),
  };
}

function readEmitted(btf: Btf, layouts: LayoutReader): void {
  for (const type of btf.types) {
    if (type.kind !== "var" || !type.name.startsWith(emitPrefix)) continue;
    const where = `variable ${type.name}`;
    const pointer = btf.resolve(type.target);
    if (pointer.kind !== "ptr") throw unsupported(where, "it is no pointer", "Declare it as a pointer");
    layouts.readNamed(pointer.target, where);
  }
}

/** Global functions outside of `.text`, which holds what other programs call. */
function readPrograms(elf: ElfObject, btf: Btf): ProgramLayout[] {
  const globals = new Set<string>();
  for (const type of btf.types) if (type.kind === "func" && type.linkage === 1) globals.add(type.name);
  const programs: ProgramLayout[] = [];
  for (const { name, kind, global, section } of elf.symbols) {
    if (kind !== "function" || !global || section === undefined) continue;
    if (!section.executable || section.name === ".text" || !globals.has(name)) continue;
    programs.push({ name, section: section.name });
  }
  return programs.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/**
 * SHA-256 in hex over every layout of the object: structs, enums, and of the maps all that gives their bytes a
 * meaning. Capacities are left out: they may be chosen at load time without changing what an entry means.
 */
export function digestLayouts(abi: Omit<ObjectAbi, "object" | "programs">): string {
  const hash = createHash("sha256");
  for (const line of describeLayouts(abi)) hash.update(`${line}\n`);
  return hash.digest("hex");
}

/** One line for each fact; equal layouts have equal lines. */
function describeLayouts(abi: Omit<ObjectAbi, "object" | "programs">): string[] {
  const maps = Object.values(abi.maps).map(describeMap).sort();
  return [...abi.structs.map(describeStruct), ...abi.enums.map(describeEnum), ...maps];
}

/** `struct k 4: 0 port be16, 2 pad uint16` */
export function describeStruct(layout: StructLayout): string {
  const fields = layout.fields.map(({ offset, name, type }) => `${offset} ${name} ${formatType(type)}`);
  return `struct ${layout.name} ${layout.size}: ${fields.join(", ")}`;
}

/** `enum verdict: pass=1, drop=2` */
export function describeEnum(layout: EnumLayout): string {
  const constants = Object.entries(layout.values).map(([name, value]) => `${name}=${value}`);
  return `enum ${layout.name}: ${constants.join(", ")}`;
}

function describeMap(map: MapLayout): string {
  const { name, type, keySize, valueSize, flags, mapExtra = 0 } = map;
  const key = describeEntryType(map.key, map.keyType);
  const value = describeEntryType(map.value, map.valueType);
  const inner = map.inner === undefined ? "" : ` of ${describeMap(map.inner)}`;
  return `map ${name} ${type}: ${keySize} ${key}, ${valueSize} ${value}, flags ${flags}, extra ${mapExtra}${inner}`;
}

/** The type of a key or value as text; `none` if the map does not state one. */
export function describeEntryType(layout: StructLayout | undefined, type: FieldType | undefined): string {
  if (layout !== undefined) return `struct ${layout.name}`;
  return type === undefined ? "none" : formatType(type);
}
