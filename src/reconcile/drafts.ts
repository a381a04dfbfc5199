// From a revision and what was observed to what a plan is made of. Reads the host's interfaces and the clock through
// ports; changes nothing.
import { bug, type Clock, type Revision } from "../base/index.ts";
import {
  type Applied,
  appliedTable,
  type DesiredState,
  type IdRange,
  type IdSpace,
  type KindDefinition,
} from "../compile/index.ts";
import { appliedEntries, readApplied } from "./applied.ts";
import { digestDesired, digestObserved } from "./digest.ts";
import { type DriftReport, driftOf } from "./drift.ts";
import { knownIds } from "./names.ts";
import type { ObservedState } from "./observe.ts";
import type { PlanInput } from "./plan.ts";
import type { Datapath } from "./ports.ts";
import { type PreparedPolicy, preparePolicy } from "./prepare-policy.ts";

export interface DraftOptions {
  readonly datapath: Datapath;
  readonly clock: Clock;
  readonly kinds: readonly KindDefinition[];
  readonly idRanges: Readonly<Record<IdSpace, IdRange>>;
  /** The host's labels. */
  readonly labels: Readonly<Record<string, string>>;
}

export class Drafts {
  readonly #o: DraftOptions;

  constructor(options: DraftOptions) {
    this.#o = options;
  }

  /** What the revision means on this host at `now` (milliseconds since the epoch), or what is wrong with it. */
  prepare(revision: Revision, observed: ObservedState, now = this.#o.clock.now()): PreparedPolicy {
    const { kinds, labels, datapath, idRanges } = this.#o;
    return preparePolicy({
      files: revision.files,
      labels,
      kinds,
      interfaces: datapath.interfaces(),
      knownIds: knownIds(observed),
      idRanges,
      now,
    });
  }

  planInput(desired: DesiredState, observed: ObservedState, applied: Applied): PlanInput {
    const { datapath, kinds } = this.#o;
    return {
      desired,
      observed,
      datapath,
      kinds,
      applied: appliedEntries(applied),
      interfaces: datapath.interfaces(),
    };
  }

  /** Keeps the time of the record if it says the same, so that nothing is written for nothing. */
  appliedFor(revision: Revision, observed: ObservedState, held: string | undefined): Applied {
    const before = readApplied(observed);
    const same = before?.commit === revision.commit && before.held === held;
    return {
      commit: revision.commit,
      held,
      timeS: same ? before.timeS : Math.floor(this.#o.clock.now() / 1000),
    };
  }

  /** True if the clock alone has changed what the revision in force means: a rule has reached its last day. */
  clockMoved(inForce: Revision, observed: ObservedState): boolean {
    const applied = readApplied(observed);
    if (applied === undefined) return false;
    const [then, now] = [applied.timeS * 1000, this.#o.clock.now()].map((at) =>
      this.prepare(inForce, observed, at),
    );
    if (then?.ok !== true || now?.ok !== true) return false;
    const before = then.desired.tables;
    return [...now.desired.tables].some(([name, table]) => {
      const old = before.get(name);
      return old === undefined || digestDesired(old) !== digestDesired(table);
    });
  }

  /** Where the kernel departs from the revision in force. */
  findDrift(inForce: Revision, observed: ObservedState): DriftReport | undefined {
    const applied = readApplied(observed);
    // As of when it was applied: what expired since is a change, not drift.
    const then = applied === undefined ? this.#o.clock.now() : applied.timeS * 1000;
    const prepared = this.prepare(inForce, observed, then);
    if (!prepared.ok) return undefined;
    const record: Applied = { commit: inForce.commit, held: applied?.held, timeS: Math.floor(then / 1000) };
    return driftOf(this.planInput(prepared.desired, observed, record));
  }
}

/** Throws a bug error unless packets see exactly what was planned. */
export function confirmDigests(input: PlanInput, after: ObservedState): void {
  const found = digestObserved(after);
  for (const [name, table] of [...input.desired.tables, [appliedTable.name, input.applied] as const]) {
    if (found[name] === digestDesired(table)) continue;
    throw bug(`Cannot confirm the commit: ${name} does not hold what was planned`, { table: name });
  }
}
