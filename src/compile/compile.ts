// PolicySet -> DesiredState: every kind fills its tables, then what all kinds share is added: the directory of
// ids and the bindings of interfaces. Pure: what the host and the kernel are like comes in as values.
import { directoryKeyCodec, directoryNameCodec, interfaceBindingCodec } from "../abi/index.ts";
import type { Diagnostic, Position, Severity } from "../base/index.ts";
import { bug, sortDiagnostics } from "../base/index.ts";
import type { GeoLookup } from "../geo/index.ts";
import type { PolicySet } from "../policy/index.ts";
import { directoryTable, idSpaceNumber, interfacesTable } from "./core-tables.ts";
import { type Attachment, type HostInterface, InterfaceGroups } from "./groups.ts";
import { IdAllocator, type IdRange, type IdSpace, type KnownId } from "./ids.ts";
import type { CompileContext, KindDefinition, Origin } from "./kind.ts";
import { type PackedTable, PackedTableBuilder, type TableSpec } from "./table.ts";

export interface CompileInput {
  readonly policy: PolicySet;
  /** All kinds; those that define names come before those that use them. */
  readonly kinds: readonly KindDefinition[];
  /** Interfaces of the host; none when policy is only checked. */
  readonly interfaces: readonly HostInterface[];
  /** Ids that the kernel's directory knows. */
  readonly knownIds: readonly KnownId[];
  readonly idRanges: Readonly<Record<IdSpace, IdRange>>;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** The countries of addresses; absent means that no database is configured. */
  readonly geo?: () => GeoLookup;
}

/** What the kernel shall hold. */
export interface DesiredState {
  /** Every table of every kind, also the empty ones, by name. */
  readonly tables: ReadonlyMap<string, PackedTable>;
  readonly attachments: readonly Attachment[];
  /** What entries' origins stand for; index 0 is "no document". No document is kept alive by them. */
  readonly origins: readonly (Position | undefined)[];
  /** Milliseconds since the epoch: from then on the clock alone gives policy another meaning. */
  readonly validUntil: number;
  /** Names of all ids in use. */
  readonly names: readonly KnownId[];
}

export interface CompileResult {
  readonly desired: DesiredState;
  /** With any error among them the desired state must not be used. */
  readonly diagnostics: readonly Diagnostic[];
}

/** Compiles the documents that are in force on a host. */
export function compilePolicy(input: CompileInput): CompileResult {
  const run = new CompileRun(input);
  for (const kind of input.kinds) {
    for (const spec of kind.tables) run.table(spec);
    kind.compile(run);
  }
  run.reportModeConflicts();
  run.addBindings();
  run.addDirectory();
  return run.result();
}

class CompileRun implements CompileContext {
  readonly policy: PolicySet;
  readonly now: number;
  readonly groups: InterfaceGroups;
  readonly geo: () => GeoLookup;
  readonly #ids: IdAllocator;
  readonly #builders = new Map<string, PackedTableBuilder>();
  readonly #origins: (Position | undefined)[] = [undefined];
  #validUntil = Number.POSITIVE_INFINITY;
  readonly #idOrigins = new Map<string, number>();
  readonly #diagnostics: Diagnostic[] = [];
  readonly #full = new Set<IdSpace>();

  constructor(input: CompileInput) {
    this.policy = input.policy;
    this.now = input.now;
    this.geo = input.geo ?? (() => ({ kind: "missing" }));
    this.groups = new InterfaceGroups(input.interfaces);
    this.#ids = new IdAllocator(input.idRanges, input.knownIds);
  }

  table(spec: TableSpec): PackedTableBuilder {
    const builder = this.#builders.get(spec.name) ?? new PackedTableBuilder(spec);
    this.#builders.set(spec.name, builder);
    return builder;
  }

  id(space: IdSpace, name: string, origin: Origin): number {
    const id = this.#ids.assign(space, name);
    if (id !== undefined) {
      const key = `${space} ${id}`;
      if (!this.#idOrigins.has(key)) this.#idOrigins.set(key, this.origin(origin));
      return id;
    }
    if (!this.#full.has(space)) {
      this.#full.add(space);
      const room = this.#ids.capacity(space);
      const raise = space === "rule" ? ", or raise limits.rulesMax in the agent's configuration" : "";
      const message = `there are more than ${room} ${space} names, those counted that the kernel holds until the commit; use fewer, or change them in two commits${raise}`;
      this.report(origin, "error", "too-many-names", message);
    }
    return 0;
  }

  numbered(space: IdSpace, id: number, origin: Origin): boolean {
    const isNew = this.#ids.take(space, id);
    if (isNew) this.#idOrigins.set(`${space} ${id}`, this.origin(origin));
    return isNew;
  }

  origin(origin: Origin): number {
    return this.#origins.push(origin.document.locate(origin.path)) - 1;
  }

  endsAt(instant: number): void {
    if (instant > this.now) this.#validUntil = Math.min(this.#validUntil, instant);
  }

  report(origin: Origin, severity: Severity, code: string, message: string): void {
    this.#diagnostics.push({ ...origin.document.locate(origin.path), severity, code, message });
  }

  reportModeConflicts(): void {
    for (const [name, one, other] of this.groups.modeConflicts()) {
      const document = this.policy.byKind("InterfaceGroup").find((d) => d.name === other);
      if (document === undefined) continue;
      const message = `interface ${name} is in groups "${one}" and "${other}", which attach differently; give both the same attach mode`;
      this.report({ document, path: ["spec", "attach"] }, "error", "attach-conflict", message);
    }
  }

  addBindings(): void {
    const builder = this.table(interfacesTable);
    for (const binding of this.groups.bindings()) {
      let groups = 0n;
      for (const name of binding.groups) {
        const id = this.#ids.assign("interface-group", name);
        if (id !== undefined) groups |= 1n << BigInt(id);
      }
      const key = new Uint8Array(4);
      new DataView(key.buffer).setUint32(0, binding.interface.index, true);
      builder.add(
        key,
        interfaceBindingCodec.encode({
          groups,
          present: 1,
          conntrack: binding.conntrack,
          steering: binding.steering,
        }),
        0,
      );
    }
  }

  addDirectory(): void {
    const builder = this.table(directoryTable);
    const utf8 = new TextEncoder();
    const text = new Uint8Array(directoryTable.payloadSize);
    for (const { space, id, name } of this.#ids.used()) {
      const { read, written } = utf8.encodeInto(name, text);
      if (read < name.length) throw bug(`Cannot keep the name of ${space} ${id}: it is too long`, { name });
      text.fill(0, written);
      const key = directoryKeyCodec.encode({ space: idSpaceNumber(space), id });
      builder.add(key, directoryNameCodec.encode({ text }), this.#idOrigins.get(`${space} ${id}`) ?? 0);
    }
  }

  result(): CompileResult {
    const tables = new Map([...this.#builders].map(([name, builder]) => [name, builder.build()]));
    return {
      desired: {
        tables,
        attachments: this.groups.attachments(),
        origins: this.#origins,
        validUntil: this.#validUntil,
        names: this.#ids.used(),
      },
      diagnostics: sortDiagnostics(this.#diagnostics),
    };
  }
}
