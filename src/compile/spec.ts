// Table specifications from the C program's own map definitions: the versioned value's parts are found by the
// names that bpf/lib/generation.h gives them, so that no offset is written twice.
import type { FieldLayout, IdSpace, MapLayout, StructLayout } from "../abi/index.ts";
import { bug } from "../base/index.ts";
import type { RuleIndexSpec } from "./rule-index-spec.ts";
import type { OrderedIdentity, TableShape, TableSpec } from "./table.ts";

export interface SpecOptions {
  readonly shape: Exclude<TableShape, "references">;
  /** The payload's field that is zero if the side is absent. */
  readonly presence: string;
  /** Ordered tables: the payload's adjacent fields that name an entry. */
  readonly identity?: readonly string[];
  /** Keyed tables with a FILTER before them. */
  readonly filtered?: boolean;
  /** The field of the configuration's `limits` that gives the map its size. */
  readonly limit?: TableSpec["limit"];
  /** Ordered tables with an index before them. */
  readonly index?: RuleIndexSpec;
}

/** The specification of a map of devices, processors or programs whose keys are ids of `space`. */
export function referencesSpec(map: MapLayout, space: IdSpace): TableSpec {
  const { name, keySize, valueSize } = map;
  const none = {
    checkOffset: undefined,
    ownerOffset: undefined,
    identity: undefined,
    filter: undefined,
    index: undefined,
  };
  return {
    ...none,
    name,
    shape: "references",
    keySize,
    payloadSize: valueSize,
    valueSize,
    sideOffset: 0,
    presenceOffset: 0,
    space,
  };
}

/** The specification of a versioned table; throws a bug error if the map's value does not have its parts. */
export function tableSpec(map: MapLayout, options: SpecOptions): TableSpec {
  const value = required(map.value, `${map.name} has no value struct`);
  const side = field(value, "side");
  if (side.type.kind !== "array" || side.type.count !== 2 || side.type.element.kind !== "struct") {
    throw bug(`Cannot use ${map.name} as a versioned table: it has no two sides`);
  }
  const payload = side.type.element.layout;
  if (field(value, "version").offset !== 0)
    throw bug(`Cannot use ${map.name}: its version does not come first`);
  if (map.keySize % 4 !== 0 || payload.size % 4 !== 0)
    throw bug(`Cannot use ${map.name}: keys and payloads are compared by the word of 4 bytes`);
  const check = value.fields.find((f) => f.name === "check");
  if ((options.shape === "keyed") !== (check?.size === 8)) {
    throw bug(`Cannot use ${map.name}: keyed tables, and only they, have a sum for each side`);
  }
  return {
    name: map.name,
    shape: options.shape,
    keySize: map.keySize,
    payloadSize: payload.size,
    valueSize: map.valueSize,
    sideOffset: side.offset,
    checkOffset: check?.offset,
    presenceOffset: field(payload, options.presence).offset,
    ownerOffset: payload.fields.find((f) => f.name === "owner")?.offset,
    identity: options.identity === undefined ? undefined : identityOf(payload, options.identity),
    filter: options.filtered === true ? `${map.name}_filter` : undefined,
    limit: options.limit,
    space: undefined,
    index: options.index,
  };
}

function identityOf(payload: StructLayout, names: readonly string[]): OrderedIdentity {
  const fields = names.map((name) => field(payload, name));
  const offset = Math.min(...fields.map((f) => f.offset));
  const size = fields.reduce((sum, f) => sum + f.size, 0);
  const end = Math.max(...fields.map((f) => f.offset + f.size));
  if (end - offset !== size) throw bug(`Cannot use ${payload.name}: its identity's fields are not adjacent`);
  return { offset, size };
}

function field(layout: StructLayout, name: string): FieldLayout {
  return required(
    layout.fields.find((f) => f.name === name),
    `struct ${layout.name} has no field ${name}`,
  );
}

function required<T>(value: T | undefined, problem: string): T {
  if (value === undefined) throw bug(`Cannot use the program's tables: ${problem}`);
  return value;
}
