// Turns types of BTF into layouts. What has no exact counterpart here (bitfields, unions, pointers, floats, names
// that are missing) is refused with the name of the field, so that no encoder is ever built on a guess.
import { PenstockError } from "../base/index.ts";
import type { Btf, BtfEnum, BtfInt, BtfMember, BtfStruct } from "./btf.ts";
import {
  type EnumLayout,
  type FieldLayout,
  type FieldType,
  fieldNameOf,
  isPaddingName,
  type StructLayout,
  sizeOfType,
} from "./layout.ts";

/** Structs and arrays nest no deeper; in a damaged file a struct could contain itself. */
const depthMax = 16;

const identifier = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Reads layouts from one object's BTF and remembers every struct and enum that it met. */
export class LayoutReader {
  readonly #btf: Btf;
  readonly #structs = new Map<BtfStruct, StructLayout>();
  readonly #enums = new Map<BtfEnum, EnumLayout>();
  readonly #names = new Set<string>();
  #depth = 0;

  constructor(btf: Btf) {
    this.#btf = btf;
  }

  /** All structs that were read, nested ones included, ordered by name. */
  structs(): StructLayout[] {
    return [...this.#structs.values()].sort(byName);
  }

  /** All enums that were read, ordered by name. */
  enums(): EnumLayout[] {
    return [...this.#enums.values()].sort(byName);
  }

  /** The type with this id; `where` names it in errors. Throws `unsupported-layout`. */
  readType(id: number, where: string): FieldType {
    if (this.#depth >= depthMax) {
      throw unsupported(where, `it lies more than ${depthMax} types deep`, "Flatten the struct");
    }
    this.#depth++;
    const type = this.#readResolved(id, where);
    this.#depth--;
    return type;
  }

  /** The struct or enum with this id: it is remembered, and nothing is made of it here. */
  readNamed(id: number, where: string): void {
    const target = this.#btf.resolve(id);
    if (target.kind === "struct") this.#readStruct(target, where);
    else if (target.kind === "enum" || target.kind === "enum64") this.#readEnum(target, where);
    else throw unsupported(where, `it is a ${target.kind}`, "Point it to a struct or an enum");
  }

  #readResolved(id: number, where: string): FieldType {
    const target = this.#btf.resolve(id);
    switch (target.kind) {
      case "int":
        return readInt(target, this.#byteOrderName(id), where);
      case "array": {
        const element = this.readType(target.element, where);
        if (target.count === 0)
          throw unsupported(where, "it is an array without a length", "Give the array a length");
        return isByte(this.#btf, target.element)
          ? { kind: "bytes", length: target.count }
          : { kind: "array", element, count: target.count };
      }
      case "struct":
        // What keeps its members to itself is the kernel's (struct bpf_timer): user space sees zeros there.
        if (target.members.length === 0 && target.size > 0) return { kind: "bytes", length: target.size };
        return { kind: "struct", layout: this.#readStruct(target, where) };
      case "enum":
      case "enum64":
        return this.#readEnumType(target, where);
      default:
        throw unsupported(
          where,
          `it is a ${target.kind}`,
          "Use integers, byte arrays, enums, structs and arrays of them",
        );
    }
  }

  #readStruct(struct: BtfStruct, where: string): StructLayout {
    if (!identifier.test(struct.name)) {
      throw unsupported(where, "its struct has no name", "Name the struct in the C source");
    }
    const known = this.#structs.get(struct);
    if (known !== undefined) return known;
    const fields = struct.members.map((member) => this.#readField(struct, member));
    const layout: StructLayout = { name: struct.name, size: struct.size, fields };
    checkFields(layout);
    this.#takeName(struct.name, where);
    this.#structs.set(struct, layout);
    return layout;
  }

  #readField(struct: BtfStruct, member: BtfMember): FieldLayout {
    const where = `struct ${struct.name}, field ${member.name === "" ? "without a name" : member.name}`;
    if (member.bitfieldBits !== 0 || member.bitOffset % 8 !== 0) {
      throw unsupported(where, "it is a bitfield", "Use an integer and masks");
    }
    const name = fieldNameOf(member.name);
    if (!identifier.test(name))
      throw unsupported(where, "it has no usable name", "Name the field in the C source");
    const type = this.readType(member.type, where);
    const field = { name, offset: member.bitOffset / 8, size: sizeOfType(type), type };
    return isPaddingName(member.name) ? { ...field, padding: true } : field;
  }

  #readEnumType(target: BtfEnum, where: string): FieldType {
    const layout = this.#readEnum(target, where);
    const bits = target.size * 8;
    if (bits !== 8 && bits !== 16 && bits !== 32) {
      throw unsupported(where, `its enum has ${bits} bits`, "Use an enum of at most 32 bits, or an integer");
    }
    return { kind: "enum", name: layout.name, bits, signed: target.signed };
  }

  #readEnum(target: BtfEnum, where: string): EnumLayout {
    if (!identifier.test(target.name)) {
      throw unsupported(where, "its enum has no name", "Name the enum in the C source");
    }
    const known = this.#enums.get(target);
    if (known !== undefined) return known;
    this.#takeName(target.name, where);
    const layout: EnumLayout = { name: target.name, values: readEnumerators(target) };
    this.#enums.set(target, layout);
    return layout;
  }

  /** TypeScript has one space of names where C has several. */
  #takeName(name: string, where: string): void {
    if (this.#names.has(name)) {
      throw unsupported(where, `two different types are called ${name}`, "Rename one of them");
    }
    this.#names.add(name);
  }

  /** The typedef that gives an integer its byte order in Linux' headers, if there is one on the way to it. */
  #byteOrderName(id: number): string | undefined {
    let type = this.#btf.type(id);
    while (type.kind !== "int") {
      if (type.kind === "typedef" && /^__[bl]e(16|32|64)$/.test(type.name)) return type.name;
      if (!("target" in type)) return undefined;
      type = this.#btf.type(type.target);
    }
    return undefined;
  }
}

function readInt(int: BtfInt, byteOrder: string | undefined, where: string): FieldType {
  const { size, bits } = int;
  if (bits !== size * 8 || int.bitOffset !== 0)
    throw unsupported(where, "it is a bitfield", "Use a whole integer");
  if (int.encoding === "bool")
    throw unsupported(where, "it is a bool", "Use __u8, whose every value is defined");
  if (bits !== 8 && bits !== 16 && bits !== 32 && bits !== 64) {
    throw unsupported(where, `it is an integer of ${bits} bits`, "Use 8, 16, 32 or 64 bits");
  }
  const kind = int.encoding === "signed" ? "int" : "uint";
  return { kind, bits, bigEndian: byteOrder?.startsWith("__be") ?? false };
}

/** `__u8` and `char`: an array of them is bytes. */
function isByte(btf: Btf, id: number): boolean {
  const type = btf.resolve(id);
  return type.kind === "int" && type.size === 1 && (type.encoding !== "signed" || type.name === "char");
}

function checkFields(layout: StructLayout): void {
  const where = `struct ${layout.name}`;
  if (layout.fields.length === 0) throw unsupported(where, "it has no fields", "Give it a field");
  let end = 0;
  const names = new Set<string>();
  for (const field of layout.fields) {
    if (field.offset < end || field.offset + field.size > layout.size) {
      throw unsupported(where, `field ${field.name} lies outside of its place`, "Compile the object again");
    }
    if (names.has(field.name)) {
      throw unsupported(where, `two fields are called ${field.name} in TypeScript`, "Rename one of them");
    }
    names.add(field.name);
    end = field.offset + field.size;
  }
}

function readEnumerators(target: BtfEnum): Record<string, number> {
  const where = `enum ${target.name}`;
  // The kernel's own way to mark what only counts the others: __FW_REASON_MAX.
  const listed = target.values.filter((constant) => !constant.name.startsWith("__"));
  const prefix = findPrefix(
    target.name,
    listed.map((constant) => constant.name),
  );
  const values: Record<string, number> = {};
  for (const constant of listed) {
    const name = constant.name.slice(prefix.length).toLowerCase().replaceAll("_", "-");
    if (!/^[a-z0-9-]+$/.test(name) || Object.hasOwn(values, name)) {
      throw unsupported(where, `constant ${constant.name} has no name of its own`, "Rename the constant");
    }
    const value = Number(constant.value);
    if (!Number.isSafeInteger(value)) {
      throw unsupported(where, `constant ${constant.name} is ${constant.value}`, "Keep constants below 2^53");
    }
    values[name] = value;
  }
  return values;
}

/** `FW_REASON_` for enum fw_reason if all constants begin so, else what they have in common up to a `_`. */
function findPrefix(enumName: string, names: readonly string[]): string {
  const ownPrefix = `${enumName.toUpperCase()}_`;
  if (names.every((name) => name.startsWith(ownPrefix) && name.length > ownPrefix.length)) return ownPrefix;
  let common = names[0] ?? "";
  for (const name of names) {
    while (common !== "" && (!name.startsWith(common) || common === name)) common = common.slice(0, -1);
  }
  return common.slice(0, common.lastIndexOf("_") + 1);
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

/** The error for C that has no layout here. */
export function unsupported(where: string, problem: string, remedy: string): PenstockError {
  return new PenstockError({
    code: "unsupported-layout",
    disposition: "stalled",
    message: `Cannot describe ${where}: ${problem}`,
    remedy,
  });
}
