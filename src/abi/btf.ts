// Parses BTF, the type information that clang puts next to BPF programs. All kinds up to 19 are read; every
// reference, name and length is checked before it is followed, so that a damaged file is an error and no crash.
//
// Format: the kernel's Documentation/bpf/btf.rst and include/uapi/linux/btf.h.
import { PenstockError } from "../base/index.ts";
import { BoundedView } from "./bounded-view.ts";

export interface BtfMember {
  readonly name: string;
  readonly type: number;
  readonly bitOffset: number;
  /** Width of a bitfield, 0 for an ordinary member. */
  readonly bitfieldBits: number;
}

export interface BtfEnumerator {
  readonly name: string;
  readonly value: bigint;
}

/** Numbers called `type`, `target`, `element`, `index` and `returns` are ids of other types; 0 is void. */
export type BtfType =
  | { readonly kind: "void" }
  | BtfInt
  | { readonly kind: "ptr"; readonly target: number }
  | { readonly kind: "array"; readonly element: number; readonly index: number; readonly count: number }
  | BtfStruct
  | BtfEnum
  | { readonly kind: "fwd"; readonly name: string; readonly union: boolean }
  | { readonly kind: "typedef"; readonly name: string; readonly target: number }
  | { readonly kind: "volatile" | "const" | "restrict"; readonly target: number }
  | { readonly kind: "func"; readonly name: string; readonly target: number; readonly linkage: number }
  | { readonly kind: "func-proto"; readonly returns: number; readonly parameters: readonly BtfParameter[] }
  | { readonly kind: "var"; readonly name: string; readonly target: number; readonly linkage: number }
  | {
      readonly kind: "datasec";
      readonly name: string;
      readonly size: number;
      readonly variables: BtfVariable[];
    }
  | { readonly kind: "float"; readonly name: string; readonly size: number }
  | { readonly kind: "decl-tag"; readonly name: string; readonly target: number; readonly component: number }
  | { readonly kind: "type-tag"; readonly name: string; readonly target: number };

export interface BtfInt {
  readonly kind: "int";
  readonly name: string;
  readonly size: number;
  readonly bits: number;
  readonly bitOffset: number;
  readonly encoding: "unsigned" | "signed" | "char" | "bool";
}

export interface BtfStruct {
  readonly kind: "struct" | "union";
  readonly name: string;
  readonly size: number;
  readonly members: readonly BtfMember[];
}

export interface BtfEnum {
  readonly kind: "enum" | "enum64";
  readonly name: string;
  readonly size: number;
  readonly signed: boolean;
  readonly values: readonly BtfEnumerator[];
}

export interface BtfParameter {
  readonly name: string;
  readonly type: number;
}

/** A variable of a data section; the offset is 0 until the object is linked. */
export interface BtfVariable {
  readonly type: number;
  readonly offset: number;
  readonly size: number;
}

export interface Btf {
  /** Indexed by id; the first is void. */
  readonly types: readonly BtfType[];
  /** The type with this id. Throws `bad-btf` for an id that does not exist. */
  type(id: number): BtfType;
  /** Follows typedefs, qualifiers and type tags to what they stand for. */
  resolve(id: number): BtfType;
}

const magic = 0xeb9f;
const headerBytes = 24;
const kindLast = 19;
/** More typedefs and qualifiers in a row than this are a cycle. */
const chainMax = 64;

/** Parses a `.BTF` section. Throws `bad-btf` if it is damaged or of an unknown version. */
export function parseBtf(bytes: Uint8Array): Btf {
  const file = new BoundedView(bytes, badBtf);
  if (bytes.byteLength < headerBytes || file.u16(0) !== magic)
    throw badBtf("it does not begin with its magic");
  if (file.u8(2) !== 1) throw badBtf(`its version is ${file.u8(2)}, not 1`);
  const header = file.u32(4);
  if (header < headerBytes) throw badBtf(`its header of ${header} bytes is too short`);
  const types = new BoundedView(file.slice(header + file.u32(8), file.u32(12)), badBtf);
  const strings = new BoundedView(file.slice(header + file.u32(16), file.u32(20)), badBtf);
  if (strings.bytes[0] !== 0) throw badBtf("its strings do not begin with the empty one");
  const parsed = readTypes(types, strings);
  for (const type of parsed) checkReferences(type, parsed.length);
  return makeBtf(parsed);
}

function makeBtf(types: readonly BtfType[]): Btf {
  const get = (id: number): BtfType => {
    const type = types[id];
    if (type === undefined) throw badBtf(`type ${id} does not exist`);
    return type;
  };
  const resolve = (id: number): BtfType => {
    let type = get(id);
    for (let step = 0; step < chainMax; step++) {
      switch (type.kind) {
        case "typedef":
        case "volatile":
        case "const":
        case "restrict":
        case "type-tag":
          type = get(type.target);
          break;
        default:
          return type;
      }
    }
    throw badBtf(`type ${id} refers to itself`);
  };
  return { types, type: get, resolve };
}

/** The 12 bytes that every type begins with, and where to read on. */
interface TypeHead {
  readonly view: BoundedView;
  readonly name: string;
  readonly kind: number;
  readonly vlen: number;
  readonly flag: boolean;
  /** Size in bytes or id of a type, by kind. */
  readonly sizeOrType: number;
  /** First byte behind the head. */
  readonly at: number;
  readonly text: (at: number) => string;
}

interface ReadType {
  readonly type: BtfType;
  /** Bytes behind the head that belong to the type. */
  readonly bytes: number;
}

function readTypes(view: BoundedView, strings: BoundedView): BtfType[] {
  const types: BtfType[] = [{ kind: "void" }];
  const text = makeNameReader(strings);
  let at = 0;
  while (at < view.bytes.byteLength) {
    const info = view.u32(at + 4);
    const kind = (info >>> 24) & 0x1f;
    if (kind === 0 || kind > kindLast) throw badBtf(`type ${types.length} is of the unknown kind ${kind}`);
    const { type, bytes } = readType({
      view,
      name: text(view.u32(at)),
      kind,
      vlen: info & 0xffff,
      flag: info >>> 31 === 1,
      sizeOrType: view.u32(at + 8),
      at: at + 12,
      text,
    });
    types.push(type);
    at += 12 + bytes;
  }
  return types;
}

/** Each name is decoded once, however many types share it. */
function makeNameReader(strings: BoundedView): (at: number) => string {
  const names = new Map<number, string>();
  return (at) => {
    const known = names.get(at);
    if (known !== undefined) return known;
    const name = strings.text(at);
    names.set(at, name);
    return name;
  };
}

function readType(head: TypeHead): ReadType {
  const { view, name, at, sizeOrType: target } = head;
  switch (head.kind) {
    case 1:
      return readInt(head);
    case 3:
      return {
        type: { kind: "array", element: view.u32(at), index: view.u32(at + 4), count: view.u32(at + 8) },
        bytes: 12,
      };
    case 4:
    case 5:
      return readStruct(head);
    case 6:
    case 19:
      return readEnum(head);
    case 13:
      return readFuncProto(head);
    case 14:
      return { type: { kind: "var", name, target, linkage: view.u32(at) }, bytes: 4 };
    case 15:
      return readDatasec(head);
    case 17:
      return { type: { kind: "decl-tag", name, target, component: view.i32(at) }, bytes: 4 };
    default:
      return { type: readPlainType(head), bytes: 0 };
  }
}

/** The kinds that are their head and nothing else. */
function readPlainType(head: TypeHead): BtfType {
  const { name, sizeOrType } = head;
  switch (head.kind) {
    case 2:
      return { kind: "ptr", target: sizeOrType };
    case 7:
      return { kind: "fwd", name, union: head.flag };
    case 8:
      return { kind: "typedef", name, target: sizeOrType };
    case 9:
      return { kind: "volatile", target: sizeOrType };
    case 10:
      return { kind: "const", target: sizeOrType };
    case 11:
      return { kind: "restrict", target: sizeOrType };
    case 12:
      return { kind: "func", name, target: sizeOrType, linkage: head.vlen };
    case 16:
      return { kind: "float", name, size: sizeOrType };
    case 18:
      return { kind: "type-tag", name, target: sizeOrType };
    default:
      throw badBtf(`there is no kind ${head.kind}`);
  }
}

function readInt(head: TypeHead): ReadType {
  const word = head.view.u32(head.at);
  const encoding = (word >>> 24) & 15;
  return {
    type: {
      kind: "int",
      name: head.name,
      size: head.sizeOrType,
      bits: word & 0xff,
      bitOffset: (word >>> 16) & 0xff,
      encoding: encoding & 4 ? "bool" : encoding & 2 ? "char" : encoding & 1 ? "signed" : "unsigned",
    },
    bytes: 4,
  };
}

function readStruct(head: TypeHead): ReadType {
  const { view, text } = head;
  const members: BtfMember[] = [];
  for (let i = 0; i < head.vlen; i++) {
    const at = head.at + i * 12;
    const offset = view.u32(at + 8);
    members.push({
      name: text(view.u32(at)),
      type: view.u32(at + 4),
      bitOffset: head.flag ? offset & 0xffffff : offset,
      bitfieldBits: head.flag ? offset >>> 24 : 0,
    });
  }
  const kind = head.kind === 4 ? "struct" : "union";
  return { type: { kind, name: head.name, size: head.sizeOrType, members }, bytes: head.vlen * 12 };
}

function readEnum(head: TypeHead): ReadType {
  const { view, text } = head;
  const wide = head.kind === 19;
  const bytes = wide ? 12 : 8;
  const values: BtfEnumerator[] = [];
  for (let i = 0; i < head.vlen; i++) {
    const at = head.at + i * bytes;
    const raw = BigInt(view.u32(at + 4)) | (wide ? BigInt(view.u32(at + 8)) << 32n : 0n);
    const value = head.flag ? BigInt.asIntN(wide ? 64 : 32, raw) : raw;
    values.push({ name: text(view.u32(at)), value });
  }
  const kind = wide ? "enum64" : "enum";
  return {
    type: { kind, name: head.name, size: head.sizeOrType, signed: head.flag, values },
    bytes: head.vlen * bytes,
  };
}

function readFuncProto(head: TypeHead): ReadType {
  const { view, text } = head;
  const parameters: BtfParameter[] = [];
  for (let i = 0; i < head.vlen; i++) {
    const at = head.at + i * 8;
    parameters.push({ name: text(view.u32(at)), type: view.u32(at + 4) });
  }
  return { type: { kind: "func-proto", returns: head.sizeOrType, parameters }, bytes: head.vlen * 8 };
}

function readDatasec(head: TypeHead): ReadType {
  const { view } = head;
  const variables: BtfVariable[] = [];
  for (let i = 0; i < head.vlen; i++) {
    const at = head.at + i * 12;
    variables.push({ type: view.u32(at), offset: view.u32(at + 4), size: view.u32(at + 8) });
  }
  const { name, sizeOrType: size } = head;
  return { type: { kind: "datasec", name, size, variables }, bytes: head.vlen * 12 };
}

function checkReferences(type: BtfType, count: number): void {
  for (const id of referencesOf(type)) {
    if (id >= count) throw badBtf(`a type refers to type ${id} of ${count - 1}`);
  }
}

function referencesOf(type: BtfType): readonly number[] {
  switch (type.kind) {
    case "void":
    case "int":
    case "enum":
    case "enum64":
    case "fwd":
    case "float":
      return [];
    case "array":
      return [type.element, type.index];
    case "struct":
    case "union":
      return type.members.map((member) => member.type);
    case "func-proto":
      return [type.returns, ...type.parameters.map((parameter) => parameter.type)];
    case "datasec":
      return type.variables.map((variable) => variable.type);
    default:
      return [type.target];
  }
}

function badBtf(problem: string): PenstockError {
  return new PenstockError({
    code: "bad-btf",
    disposition: "stalled",
    message: `Cannot read the type information of the BPF object: ${problem}`,
    remedy: "Compile the object again with scripts/build-bpf.sh, or install the package again",
  });
}
