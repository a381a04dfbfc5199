// Reads the map definitions of an object: the structs of its `.maps` section, in which libbpf's macros write
// numbers as the lengths of arrays (`__uint`), as the constant of an enum (`__ulong`), and types as pointers.
//
// Format: parse_btf_map_def() in libbpf; the macros are in bpf_helpers.h.
import type { Btf, BtfMember, BtfStruct } from "./btf.ts";
import type { FieldType, MapLayout } from "./layout.ts";
import { sizeOfType } from "./layout.ts";
import { type LayoutReader, unsupported } from "./layout-reader.ts";

/** What a definition may say, and how it is called in a MapLayout. */
const numbers = {
  type: "type",
  key_size: "keySize",
  value_size: "valueSize",
  max_entries: "maxEntries",
  map_flags: "flags",
  pinning: "pinning",
  numa_node: "numaNode",
  map_extra: "mapExtra",
} as const;

type NumberName = (typeof numbers)[keyof typeof numbers];

/** Maps of maps nest once in the kernel. */
const depthMax = 2;

/** All maps that the object defines, ordered by name. Throws `unsupported-layout` and `bad-btf`. */
export function readMaps(btf: Btf, layouts: LayoutReader): MapLayout[] {
  const maps: MapLayout[] = [];
  for (const section of btf.types) {
    if (section.kind !== "datasec" || section.name !== ".maps") continue;
    for (const variable of section.variables) {
      const type = btf.type(variable.type);
      if (type.kind !== "var")
        throw unsupported("section .maps", "it holds something else than variables", remedy);
      const definition = btf.resolve(type.target);
      if (definition.kind !== "struct") throw unsupported(`map ${type.name}`, "it is not a struct", remedy);
      maps.push(new MapReader(btf, layouts, type.name).read(definition, 1));
    }
  }
  return maps.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

const remedy = "Define the map with the macros of bpf_helpers.h";

class MapReader {
  readonly #btf: Btf;
  readonly #layouts: LayoutReader;
  readonly #name: string;

  constructor(btf: Btf, layouts: LayoutReader, name: string) {
    this.#btf = btf;
    this.#layouts = layouts;
    this.#name = name;
  }

  read(definition: BtfStruct, depth: number): MapLayout {
    const found: Partial<Record<NumberName, number>> = {};
    let key: FieldType | undefined;
    let value: FieldType | undefined;
    let inner: MapLayout | undefined;
    for (const member of definition.members) {
      if (member.name === "key") key = this.#readPointedType(member);
      else if (member.name === "value") value = this.#readPointedType(member);
      else if (member.name === "values") inner = this.#readInner(member, depth);
      else if (isNumberMember(member.name)) found[numbers[member.name]] = this.#readNumber(member);
      else throw this.#refuse(`it has a member ${member.name}`);
    }
    if (found.type === undefined) throw this.#refuse("it does not state its type");
    const { type, pinning, numaNode, mapExtra } = found;
    return {
      name: this.#name,
      type,
      keySize: this.#size("key", found.keySize, key),
      // The values of maps of maps and of program arrays are file descriptors.
      valueSize: this.#size("value", found.valueSize ?? (hasValues(definition) ? 4 : undefined), value),
      maxEntries: found.maxEntries ?? 0,
      flags: found.flags ?? 0,
      ...(key === undefined ? {} : key.kind === "struct" ? { key: key.layout } : { keyType: key }),
      ...(value === undefined
        ? {}
        : value.kind === "struct"
          ? { value: value.layout }
          : { valueType: value }),
      ...(pinning === undefined ? {} : { pinning }),
      ...(numaNode === undefined ? {} : { numaNode }),
      ...(mapExtra === undefined ? {} : { mapExtra }),
      ...(inner === undefined ? {} : { inner }),
    };
  }

  /** `int (*name)[N]` is N; an enum with one constant is that constant. */
  #readNumber(member: BtfMember): number {
    const type = this.#btf.resolve(member.type);
    if (type.kind === "ptr") {
      const target = this.#btf.resolve(type.target);
      if (target.kind === "array") return target.count;
    }
    if (type.kind === "enum" || type.kind === "enum64") {
      const number = Number(type.values[0]?.value);
      if (type.values.length === 1 && Number.isSafeInteger(number)) return number;
    }
    throw this.#refuse(`its ${member.name} is not written with __uint or __ulong`);
  }

  #readPointedType(member: BtfMember): FieldType {
    const type = this.#btf.resolve(member.type);
    if (type.kind !== "ptr") throw this.#refuse(`its ${member.name} is not written with __type`);
    return this.#layouts.readType(type.target, `map ${this.#name}, ${member.name}`);
  }

  /** Undefined for program arrays, whose values are functions. */
  #readInner(member: BtfMember, depth: number): MapLayout | undefined {
    const values = this.#btf.resolve(member.type);
    const element = values.kind === "array" ? this.#btf.resolve(values.element) : undefined;
    if (element?.kind !== "ptr") throw this.#refuse("its values are not written with __array");
    const target = this.#btf.resolve(element.target);
    if (target.kind === "func-proto") return undefined;
    if (target.kind !== "struct") throw this.#refuse("its values are neither maps nor programs");
    if (depth >= depthMax) throw this.#refuse("maps of maps nest only once");
    return new MapReader(this.#btf, this.#layouts, `${this.#name}.inner`).read(target, depth + 1);
  }

  #size(what: "key" | "value", stated: number | undefined, type: FieldType | undefined): number {
    if (type === undefined) return stated ?? 0;
    const size = sizeOfType(type);
    if (stated !== undefined && stated !== size) {
      throw this.#refuse(`its ${what} type has ${size} bytes, its ${what}_size says ${stated}`);
    }
    return size;
  }

  #refuse(problem: string) {
    return unsupported(`map ${this.#name}`, problem, remedy);
  }
}

function hasValues(definition: BtfStruct): boolean {
  return definition.members.some((member) => member.name === "values");
}

function isNumberMember(name: string): name is keyof typeof numbers {
  return Object.hasOwn(numbers, name);
}
