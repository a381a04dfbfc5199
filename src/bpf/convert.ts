// How bytes of one layout become bytes of another: fields are matched by their names, struct by struct. What one
// side does not have is zero: a new field begins so, and a field that is gone must have been so.
//
// A versioned value (a version word and two sides) is converted whole, but only the side that packets see has to fit:
// the other one is the past, or a transaction that died.
import { type FieldType, formatType, type StructLayout, sizeOfType } from "../abi/index.ts";

/** Turns values of one layout into values of another. */
export interface Conversion {
  /** What differs, in words: `field owner added`. Empty if the bytes mean the same on both sides. */
  readonly changes: readonly string[];
  /**
   * Writes all that fits of `from` into `to`, which holds zeros, as readers at `generation` see it. Returns the first
   * field that does not fit, or undefined.
   */
  run(from: Uint8Array, to: Uint8Array, generation: bigint): string | undefined;
}

interface Place {
  readonly from: number;
  readonly to: number;
  /** For messages: `side.source.sets`. */
  readonly path: string;
  /** Set inside of one side of a versioned value. */
  readonly side: 0 | 1 | undefined;
}

type NumberType = Extract<FieldType, { kind: "uint" | "int" | "enum" }>;

type Step = Place &
  (
    | { readonly kind: "copy"; readonly size: number }
    | { readonly kind: "number"; readonly types: readonly [from: NumberType, to: NumberType] }
    /** Bytes that have no place any more. */
    | { readonly kind: "gone"; readonly size: number }
  );

/** Plans the conversion from one type to another. */
export function planConversion(from: FieldType, to: FieldType): Conversion {
  const planner = new Planner();
  planner.plan(from, to, { from: 0, to: 0, path: "", side: undefined });
  if (planner.changes.size === 0 && planner.moved) planner.changes.add("fields moved");
  if (planner.changes.size === 0 && sizeOfType(from) !== sizeOfType(to))
    planner.changes.add("padding changed");
  return { changes: [...planner.changes], run: (...args) => runSteps(planner.steps, args) };
}

/** For values of which no layout is known: bytes stay as they are. */
export function copyBytes(): Conversion {
  return {
    changes: [],
    run(from, to) {
      to.set(from);
      return undefined;
    },
  };
}

class Planner {
  readonly steps: Step[] = [];
  readonly changes = new Set<string>();
  /** Whether anything that stayed has another place. */
  moved = false;

  plan(from: FieldType, to: FieldType, at: Place): void {
    if (from.kind === "struct" && to.kind === "struct") this.#planStruct(from.layout, to.layout, at);
    else if (isNumber(from) && isNumber(to)) this.#planNumber(from, to, at);
    else if (from.kind === "bytes" && to.kind === "bytes") this.#planBytes(from.length, to.length, at);
    else if (from.kind === "array" && to.kind === "array") this.#planArray(from, to, at);
    else {
      this.changes.add(`field ${nameOf(at.path)} is ${formatType(to)} and was ${formatType(from)}`);
      this.#drop(at, sizeOfType(from));
    }
  }

  #planStruct(from: StructLayout, to: StructLayout, at: Place): void {
    const before = new Map(from.fields.filter((f) => f.padding !== true).map((f) => [f.name, f]));
    const versioned = at.path === "" && before.get("version")?.offset === 0;
    for (const field of to.fields) {
      if (field.padding === true) continue;
      const path = at.path === "" ? field.name : `${at.path}.${field.name}`;
      const old = before.get(field.name);
      before.delete(field.name);
      if (old === undefined) {
        this.changes.add(`field ${nameOf(path)} added`);
        continue;
      }
      if (old.offset !== field.offset) this.moved = true;
      const place = { ...at, from: at.from + old.offset, to: at.to + field.offset, path };
      if (versioned && field.name === "side") this.#planSides([old.type, field.type], place);
      else this.plan(old.type, field.type, place);
    }
    for (const gone of before.values()) {
      const path = at.path === "" ? gone.name : `${at.path}.${gone.name}`;
      this.changes.add(`field ${nameOf(path)} removed`);
      this.#drop({ ...at, from: at.from + gone.offset, path }, gone.size);
    }
  }

  #planSides([from, to]: readonly [FieldType, FieldType], at: Place): void {
    if (from.kind !== "array" || to.kind !== "array") {
      this.plan(from, to, at);
      return;
    }
    for (const side of [0, 1] as const) {
      const place = {
        from: at.from + side * sizeOfType(from.element),
        to: at.to + side * sizeOfType(to.element),
      };
      this.plan(from.element, to.element, { ...at, ...place, side });
    }
  }

  #planNumber(from: NumberType, to: NumberType, at: Place): void {
    const [before, after] = [describeNumber(from), describeNumber(to)];
    if (before === after) {
      this.#copy(at, from.bits / 8);
      return;
    }
    this.changes.add(`field ${nameOf(at.path)} is ${after} and was ${before}`);
    this.steps.push({ ...at, kind: "number", types: [from, to] });
  }

  #planBytes(from: number, to: number, at: Place): void {
    if (from !== to) this.changes.add(`field ${nameOf(at.path)} has ${to} bytes and had ${from}`);
    this.#copy(at, Math.min(from, to));
    if (from > to) this.#drop({ ...at, from: at.from + to }, from - to);
  }

  #planArray(
    from: Extract<FieldType, { kind: "array" }>,
    to: Extract<FieldType, { kind: "array" }>,
    at: Place,
  ): void {
    const [before, after] = [sizeOfType(from.element), sizeOfType(to.element)];
    if (from.count !== to.count)
      this.changes.add(`field ${nameOf(at.path)} has ${to.count} elements and had ${from.count}`);
    const kept = Math.min(from.count, to.count);
    for (let i = 0; i < kept; i++)
      this.plan(from.element, to.element, { ...at, from: at.from + i * before, to: at.to + i * after });
    if (from.count > kept) this.#drop({ ...at, from: at.from + kept * before }, (from.count - kept) * before);
  }

  /** Neighbours that stay neighbours are one copy. */
  #copy(at: Place, size: number): void {
    const last = this.steps.at(-1);
    const follows =
      last?.kind === "copy" &&
      last.side === at.side &&
      last.from + last.size === at.from &&
      last.to + last.size === at.to;
    if (follows) this.steps[this.steps.length - 1] = { ...last, size: last.size + size };
    else this.steps.push({ ...at, kind: "copy", size });
  }

  #drop(at: Place, size: number): void {
    this.steps.push({ ...at, kind: "gone", size });
  }
}

function runSteps(
  steps: readonly Step[],
  [from, to, generation]: readonly [Uint8Array, Uint8Array, bigint],
): string | undefined {
  const view = new DataView(from.buffer, from.byteOffset, from.byteLength);
  const out = new DataView(to.buffer, to.byteOffset, to.byteLength);
  let seen: number | undefined;
  let misfit: string | undefined;
  for (const step of steps) {
    if (step.kind === "copy") {
      to.set(from.subarray(step.from, step.from + step.size), step.to);
      continue;
    }
    const fits = step.kind === "number" ? convertNumber(step, view, out) : isZero(from, step.from, step.size);
    if (fits) continue;
    seen ??= visibleSide(view, generation);
    if (step.side === undefined || step.side === seen) misfit ??= step.path;
  }
  return misfit;
}

/** The side of a versioned value that packets see, as `visible_side` of bpf/lib/generation.h. */
export function visibleSide(value: DataView, generation: bigint): number {
  if (value.byteLength < 8) return 0;
  const version = value.getBigUint64(0, true);
  const newer = Number(version & 1n);
  return version >> 1n > generation ? newer ^ 1 : newer;
}

/** False, and zero, if the number does not fit. */
function convertNumber(step: Extract<Step, { kind: "number" }>, from: DataView, to: DataView): boolean {
  const [before, after] = step.types;
  const raw = readUnsigned(from, step.from, before);
  const value = isSigned(before) ? BigInt.asIntN(before.bits, raw) : raw;
  const kept = isSigned(after) ? BigInt.asIntN(after.bits, value) : BigInt.asUintN(after.bits, value);
  if (kept !== value) return false;
  writeUnsigned(to, step.to, after, BigInt.asUintN(after.bits, value));
  return true;
}

function readUnsigned(view: DataView, at: number, type: NumberType): bigint {
  let value = 0n;
  const bytes = type.bits / 8;
  for (let i = 0; i < bytes; i++) {
    const place = isBigEndian(type) ? at + i : at + bytes - 1 - i;
    value = (value << 8n) | BigInt(view.getUint8(place));
  }
  return value;
}

function writeUnsigned(view: DataView, at: number, type: NumberType, value: bigint): void {
  const bytes = type.bits / 8;
  for (let i = 0; i < bytes; i++) {
    const place = isBigEndian(type) ? at + bytes - 1 - i : at + i;
    view.setUint8(place, Number((value >> BigInt(8 * i)) & 0xffn));
  }
}

function isNumber(type: FieldType): type is NumberType {
  return type.kind === "uint" || type.kind === "int" || type.kind === "enum";
}

function isSigned(type: NumberType): boolean {
  return type.kind === "enum" ? type.signed : type.kind === "int";
}

function isBigEndian(type: NumberType): boolean {
  return type.kind !== "enum" && type.bigEndian;
}

function describeNumber(type: NumberType): string {
  const name = isSigned(type) ? "int" : "uint";
  return isBigEndian(type) ? `${name}${type.bits} (big endian)` : `${name}${type.bits}`;
}

/** True if `size` bytes from `at` on are zero. */
export function isZero(bytes: Uint8Array, at: number, size: number): boolean {
  for (let i = at; i < at + size; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** The name that the C source knows the field by: sides are the project's own business. */
function nameOf(path: string): string {
  if (path === "") return "value";
  return path.startsWith("side.") ? path.slice(5) : path;
}
