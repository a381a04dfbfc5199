// What reconciling needs from the world: the kernel, the repository, the audit log. Interfaces only; the
// command line's composition root fills them in, tests fill them with models that pass the same contract.
import type { Revision } from "../base/index.ts";
import type { Attachment, HostInterface, TableSpec } from "../compile/index.ts";

/** Raw entries of one table: keys and whole map values (version word, sums, both sides). */
export interface RawTable {
  readonly spec: TableSpec;
  readonly count: number;
  /** count * keySize bytes. */
  readonly keys: Uint8Array;
  /** count * valueSize bytes. */
  readonly values: Uint8Array;
}

/** A program on an interface, as the kernel has it. */
export interface Attached {
  readonly program: string;
  readonly index: number;
  /** The interface's name, or undefined if it is gone. */
  readonly interface: string | undefined;
  readonly mode: "native" | "generic" | "tcx";
  /** False if the link does not run the program that this agent loaded. */
  readonly current: boolean;
}

/** The kernel, as far as policy goes. Every failure is a PenstockError. */
export interface Datapath {
  readonly tables: readonly TableSpec[];
  /** Most entries that a table can hold. */
  capacityOf(table: TableSpec): number;
  /** The generation that packets see, and the highest one that a transaction ever took. */
  generation(): { readonly current: bigint; readonly last: bigint };
  /** Notes that a transaction takes this generation; before the first prepared entry. */
  takeGeneration(target: bigint): void;
  /** The commit: one aligned 8-byte store. Cannot fail. */
  commit(target: bigint): void;
  /** Returns when no packet is judged by a generation older than the current one any more. */
  grace(): Promise<void>;
  /** Packets that still carry a generation older than `oldest` are judged by the current one from now on. */
  retire(oldest: bigint): void;
  /** All entries. Slots of array tables that were never used may be left out. */
  /** `onRead` may be told what was read so far, and the first entry that is new, while more is read. */
  read(table: TableSpec, onRead?: (sofar: RawTable, from: number) => void): Promise<RawTable>;
  /** The raw values of some keys (packed); for keys without entry the value is all zeros. */
  lookup(table: TableSpec, keys: Uint8Array): Promise<Uint8Array>;
  /** Writes raw entries (packed). May stop halfway with an error. */
  write(table: TableSpec, keys: Uint8Array, values: Uint8Array): Promise<void>;
  /** Removes entries; those that are not there are no error. Never called for array tables. */
  remove(table: TableSpec, keys: Uint8Array): Promise<void>;
  /**
   * Throws `table-full` if programs could not find these entries among each other, though the table holds so many.
   * `entries` are keys of the map, and payloads.
   */
  checkRoom(table: TableSpec, entries: { readonly keys: Uint8Array; readonly payloads: Uint8Array }): void;
  /** What `setEnd` said last. */
  endOf(table: TableSpec): number;
  /** Tells programs that slots of an ordered table are in use below `end` only. */
  setEnd(table: TableSpec, end: number): Promise<void>;
  /** Clears the hit counters of rule ids that are about to get a new meaning. */
  clearCounters(ruleIds: readonly number[]): Promise<void>;
  interfaces(): readonly HostInterface[];
  attached(): readonly Attached[];
  /**
   * Attaches a program, or puts right what is attached. Returns what takes the interface back to what it was;
   * undefined if that is not needed, since what packets meet is the same.
   */
  attach(attachment: Attachment): (() => void) | undefined;
  detach(program: string, index: number): void;
}

/** The policy repository. */
export interface RevisionSource {
  /** The newest revision of the configured ref. */
  fetch(signal?: AbortSignal): Promise<Revision>;
  /** Whether the ref has moved since the last fetch, for as little work as possible. */
  poll(signal?: AbortSignal): Promise<{ readonly commit: string; readonly changed: boolean }>;
  /** An earlier revision by its full or abbreviated commit id. */
  revision(commit: string, signal?: AbortSignal): Promise<Revision>;
}

export type Trigger = "poll" | "push" | "command" | "schedule" | "start";

export type AttemptOutcome =
  | "applied"
  | "unchanged"
  | "refused"
  | "failed"
  | "rolled-back"
  | "drift"
  | "healed"
  | "detached";

/** One attempt, for the audit log. */
export interface Attempt {
  readonly outcome: AttemptOutcome;
  readonly reason: string;
  readonly message: string;
  readonly revision: Omit<Revision, "files"> | null;
  readonly generation: { readonly before: number; readonly after: number } | null;
  readonly plan: {
    readonly summary: { readonly add: number; readonly change: number; readonly remove: number };
    readonly digest: string;
    readonly tables: readonly {
      readonly table: string;
      readonly add: number;
      readonly change: number;
      readonly remove: number;
    }[];
  } | null;
  readonly digests: {
    readonly before: Readonly<Record<string, string>>;
    readonly after: Readonly<Record<string, string>>;
  } | null;
  readonly timingsMs: Readonly<Record<string, number>>;
  readonly diagnostics?: readonly string[];
  readonly host: string;
  readonly agentVersion: string;
  readonly trigger: Trigger;
}

/** What is read back of an attempt. */
export interface RecordedAttempt {
  readonly sequence: number;
  readonly time: string;
  readonly outcome: AttemptOutcome;
  readonly reason: string;
  readonly message: string;
  readonly revision: { readonly commit: string; readonly ref: string; readonly subject: string } | null;
}

/** The audit log. */
export interface AttemptLog {
  /** Makes sure that the next record can be written, even on a full disk; before a commit. */
  reserve(): Promise<void>;
  append(attempt: Attempt): Promise<RecordedAttempt>;
  /** The newest first. */
  recent(limit: number): Promise<readonly RecordedAttempt[]>;
}

/** Where people read along. */
export interface Logger {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}
