// What a policy kind is to the stages: one folder under src/kinds with this shape. A kind turns its documents
// into entries of tables, checks what the schema cannot say, and can put an entry back into words.
import type { Severity } from "../base/index.ts";
import type { GeoLookup } from "../geo/index.ts";
import type { AnyPolicyDocument, PolicyKind, PolicyPath, PolicySet } from "../policy/index.ts";
import type { InterfaceGroups } from "./groups.ts";
import type { IdSpace } from "./ids.ts";
import type { PackedTableBuilder, TableSpec } from "./table.ts";

/** Where an entry comes from: a place in a document. */
export interface Origin {
  readonly document: AnyPolicyDocument;
  readonly path: PolicyPath;
}

/** What a kind compiles with; everything that it leaves behind goes through here. */
export interface CompileContext {
  /** The documents in force on this host. */
  readonly policy: PolicySet;
  /** Milliseconds since the epoch: what has expired is left out. */
  readonly now: number;
  readonly groups: InterfaceGroups;
  /** The countries of addresses, or why nobody knows them. */
  geo(): GeoLookup;
  /** The builder of a table; the same one for everybody. */
  table(spec: TableSpec): PackedTableBuilder;
  /** The id of a name; 0 and a finding if there is none left. */
  id(space: IdSpace, name: string, origin: Origin): number;
  /** Notes that an entry's key is a number that others gave, that of a processor; false if that is noted already. */
  numbered(space: IdSpace, id: number, origin: Origin): boolean;
  /** A number for `origin` that entries carry. */
  origin(origin: Origin): number;
  /** Notes that the documents mean something else from `instant` on, in milliseconds since the epoch. */
  endsAt(instant: number): void;
  report(origin: Origin, severity: Severity, code: string, message: string): void;
}

/** One entry in words, for plans and drift reports. */
export interface EntryText {
  /** What it is: `rule edge/office-ssh`, `10.0.0.0/8 in address set office`. */
  readonly subject: string;
  /** What it says: `pass tcp from office to port 22`; empty if the subject says all. */
  readonly detail: string;
}

/** What numbers in kernel entries are called. */
export interface Names {
  /** From the directory of ids. */
  nameOf(space: IdSpace, id: number): string | undefined;
  /** An interface of this host by its ifindex. */
  interfaceName(index: number): string | undefined;
}

export interface KindDefinition {
  readonly kind: PolicyKind;
  /** The tables that documents of this kind fill. */
  readonly tables: readonly TableSpec[];
  /** Compiles all documents of the kind. Never throws for bad policy: reports. */
  compile(context: CompileContext): void;
  /** Puts an entry of one of the kind's tables into words. `key` is the packed key. */
  describe(table: string, key: Uint8Array, payload: Uint8Array, names: Names): EntryText;
}
