// The compile stage: PolicySet -> DesiredState. Packed tables, ids, interface groups, and what a kind is.

export {
  addPrefix,
  addressTables,
  describeAddress,
} from "./address-tables.ts";
export { type Applied, appliedTable, decodeApplied, encodeApplied } from "./applied-table.ts";
export { type CompileInput, type CompileResult, compilePolicy, type DesiredState } from "./compile.ts";
export {
  decodeDirectoryEntry,
  directoryCapacityFor,
  directoryTable,
  idRangesFor,
  interfacesTable,
  ruleIdsFor,
} from "./core-tables.ts";
export type {
  AttachMode,
  Attachment,
  HostInterface,
} from "./groups.ts";
export type { IdRange, IdSpace, KnownId } from "./ids.ts";
export { indexFewKeys, indexKeys, KeyIndex, wordsOf } from "./key-index.ts";
export type { CompileContext, EntryText, KindDefinition, Names, Origin } from "./kind.ts";
export {
  type IndexedAddress,
  type IndexedField,
  type IndexRoom,
  indexCapacitiesFor,
  type RuleIndexSpec,
} from "./rule-index-spec.ts";
export { referencesSpec, type SpecOptions, tableSpec } from "./spec.ts";
export {
  entryAt,
  equalAt,
  indexTable,
  type OrderedIdentity,
  type Owner,
  owners,
  type PackedTable,
  PackedTableBuilder,
  packedKeySize,
  presence,
  type TableShape,
  type TableSpec,
} from "./table.ts";
