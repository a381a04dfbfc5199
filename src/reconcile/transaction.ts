// The transaction: prepare, read back, commit, grace, settle; or abort. Until the commit, which is one store,
// nothing that packets see changes; after it only cleaning up is left. See bpf/lib/generation.h.
import { bug, type Clock, PenstockError } from "../base/index.ts";
import { type Attachment, entryAt, equalAt, type TableSpec } from "../compile/index.ts";
import { type CoverIndex, coversOfDesired, coversOfObserved } from "./cover.ts";
import { isArray, type TableDiff } from "./diff.ts";
import type { Datapath } from "./ports.ts";
import { prepareValue, restValue } from "./versions.ts";

/** What a transaction does, as the plan says. */
export interface TransactionPlan {
  /** The generation that the diffs were made against. */
  readonly generation: bigint;
  readonly diffs: readonly TableDiff[];
  readonly attach: readonly Attachment[];
  readonly detach: readonly { readonly program: string; readonly index: number }[];
  /** Rule ids that get a new meaning and start counting at zero. */
  readonly freshRuleIds: readonly number[];
}

export interface TransactionResult {
  readonly generation: { readonly before: bigint; readonly after: bigint };
  readonly written: number;
  readonly removed: number;
  /** Milliseconds for each stage. */
  readonly timingsMs: Readonly<Record<"prepare" | "readBack" | "commit" | "grace" | "settle", number>>;
  /** Set if the commit stands but cleaning up after it failed: the next start or scan does it. */
  readonly settleError: PenstockError | undefined;
}

/** Raw entries to write in one table. */
interface Writes {
  readonly diff: TableDiff;
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
}

/**
 * Runs a transaction. Throws if it could not be committed; what packets see is then what it was before (the
 * error says if cleaning up failed too, which the next start repairs).
 */
export async function runTransaction(
  datapath: Datapath,
  plan: TransactionPlan,
  clock: Clock,
): Promise<TransactionResult> {
  const { current, last } = datapath.generation();
  if (current !== plan.generation) throw stalePlan(plan.generation, current);
  // Normally last is not below current; if somebody wrote the record, what is prepared must not be visible yet.
  let target = last + 1n;
  if (target <= current) target = current + 1n;
  const timer = new StageTimer(clock);
  const writes = plan.diffs.filter((d) => d.changes.length > 0).map((d) => buildWrites(d, current, target));
  const undo: (() => void)[] = [];
  try {
    datapath.takeGeneration(target);
    await prepare(datapath, plan, writes, undo);
    timer.mark("prepare");
    await readBack(datapath, writes);
    timer.mark("readBack");
    const { current: now, last: taken } = datapath.generation();
    if (now !== current || taken !== target) throw stalePlan(current, now);
  } catch (error) {
    throw await abort(datapath, plan, writes, undo, error);
  }
  datapath.commit(target);
  timer.mark("commit");
  let removed = 0;
  let settleError: PenstockError | undefined;
  try {
    await datapath.grace();
    timer.mark("grace");
    datapath.retire(target);
    removed = await settle(datapath, plan, writes);
  } catch (error) {
    settleError = asSettleError(error);
  }
  timer.mark("settle");
  return {
    generation: { before: current, after: target },
    written: writes.reduce((sum, w) => sum + w.diff.changes.length, 0),
    removed,
    timingsMs: timer.stages(),
    settleError,
  };
}

async function prepare(
  datapath: Datapath,
  plan: TransactionPlan,
  writes: readonly Writes[],
  undo: (() => void)[],
): Promise<void> {
  if (plan.freshRuleIds.length > 0) await datapath.clearCounters(plan.freshRuleIds);
  // Whatever the bound was, packets must walk over all that they see before and after the commit.
  for (const diff of ordered(plan)) await datapath.setEnd(diff.spec, Math.max(diff.end, diff.endBefore));
  for (const { diff, keys, values } of writes) {
    await datapath.write(diff.spec, keys, values);
  }
  // A program without a binding passes everything, so attaching before the commit changes nothing.
  for (const attachment of plan.attach) {
    const back = datapath.attach(attachment);
    if (back !== undefined) undo.push(back);
  }
}

async function readBack(datapath: Datapath, writes: readonly Writes[]): Promise<void> {
  for (const { diff, keys, values } of writes) {
    const found = await datapath.lookup(diff.spec, keys);
    const { valueSize } = diff.spec;
    for (let i = 0; i < diff.changes.length; i++) {
      if (!equalAt(found, i * valueSize, values, i * valueSize, valueSize)) {
        throw new PenstockError({
          code: "read-back-differs",
          disposition: "transient",
          message: `Cannot commit: entry ${i + 1} of ${diff.changes.length} written to ${diff.spec.name} reads back differently`,
          remedy: "Look for another process that writes these maps (bpftool map show)",
          data: { table: diff.spec.name },
        });
      }
    }
  }
}

/** Puts back what `prepare` did, as far as it got; returns the error to throw. */
async function abort(
  datapath: Datapath,
  plan: TransactionPlan,
  writes: readonly Writes[],
  undo: readonly (() => void)[],
  cause: unknown,
): Promise<unknown> {
  try {
    for (const { diff, keys } of writes) {
      await restore(datapath, diff, keys, plan.generation);
    }
    for (const diff of ordered(plan)) await datapath.setEnd(diff.spec, diff.endBefore);
    for (const back of undo.toReversed()) back();
    return cause;
  } catch (error) {
    return new PenstockError({
      code: "abort-incomplete",
      disposition: "transient",
      message: `Cannot clean up after a failed transaction: ${error instanceof Error ? error.message : String(error)}`,
      remedy: "Packets see the old policy; the next reconciliation or start repairs what is left",
      cause,
    });
  }
}

async function restore(
  datapath: Datapath,
  diff: TableDiff,
  keys: Uint8Array,
  current: bigint,
): Promise<void> {
  const { spec, observed } = diff;
  const back = new Collected(spec, true);
  const gone = new Collected(spec, false);
  diff.changes.forEach((change, i) => {
    const key = entryAt(keys, spec.keySize, i);
    const before =
      change.observed >= 0
        ? entryAt(observed.values, spec.valueSize, change.observed)
        : isArray(spec)
          ? new Uint8Array(spec.valueSize)
          : undefined;
    if (before === undefined) gone.add(key);
    else back.add(key, restValue(spec, key, before, current));
  });
  if (back.count > 0) await datapath.write(spec, back.keys(), back.values());
  if (gone.count > 0) await datapath.remove(spec, gone.keys());
}

async function settle(datapath: Datapath, plan: TransactionPlan, writes: readonly Writes[]): Promise<number> {
  let removed = 0;
  for (const { program, index } of plan.detach) datapath.detach(program, index);
  for (const diff of ordered(plan)) await datapath.setEnd(diff.spec, diff.end);
  for (const { diff, keys } of writes) {
    const { spec } = diff;
    if (isArray(spec)) continue;
    const gone = new Collected(spec, false);
    diff.changes.forEach((change, i) => {
      if (change.desired < 0) gone.add(entryAt(keys, spec.keySize, i));
    });
    if (gone.count > 0) await datapath.remove(spec, gone.keys());
    removed += gone.count;
  }
  return removed;
}

function ordered(plan: TransactionPlan): TableDiff[] {
  return plan.diffs.filter((diff) => diff.spec.shape === "ordered");
}

/** The raw value of every changed entry, so that readers at `current` see no difference. */
function buildWrites(diff: TableDiff, current: bigint, target: bigint): Writes {
  const { spec, observed, desired } = diff;
  const keys = new Uint8Array(diff.changes.length * spec.keySize);
  const values = new Uint8Array(diff.changes.length * spec.valueSize);
  const absent = new Uint8Array(spec.payloadSize);
  let before: CoverIndex | undefined;
  let after: CoverIndex | undefined;
  const coverBefore = (key: Uint8Array) => {
    if (spec.shape !== "prefix") return undefined;
    before ??= coversOfObserved(observed, current);
    return before.coverOf(key);
  };
  const coverAfter = (key: Uint8Array) => {
    if (spec.shape !== "prefix") return undefined;
    after ??= coversOfDesired(desired);
    return after.coverOf(key);
  };
  diff.changes.forEach((change, i) => {
    const key =
      change.desired >= 0
        ? entryAt(desired.keys, spec.keySize, change.desired)
        : entryAt(observed.keys, spec.keySize, change.observed);
    const raw = change.observed < 0 ? undefined : entryAt(observed.values, spec.valueSize, change.observed);
    const payload =
      change.desired >= 0
        ? entryAt(desired.payloads, spec.payloadSize, change.desired)
        : (coverAfter(key) ?? absent);
    const cover = raw === undefined ? coverBefore(key) : undefined;
    keys.set(key, i * spec.keySize);
    values.set(
      prepareValue({ spec, key, before: raw, after: payload, cover, current, target }),
      i * spec.valueSize,
    );
  });
  return { diff, keys, values };
}

class Collected {
  readonly #spec: TableSpec;
  readonly #withValues: boolean;
  readonly #keys: Uint8Array[] = [];
  readonly #values: Uint8Array[] = [];

  constructor(spec: TableSpec, withValues: boolean) {
    this.#spec = spec;
    this.#withValues = withValues;
  }

  get count(): number {
    return this.#keys.length;
  }

  add(key: Uint8Array, value?: Uint8Array): void {
    this.#keys.push(key);
    if (this.#withValues) this.#values.push(value ?? new Uint8Array(this.#spec.valueSize));
  }

  keys(): Uint8Array {
    return Buffer.concat(this.#keys);
  }

  values(): Uint8Array {
    return Buffer.concat(this.#values);
  }
}

class StageTimer {
  readonly #clock: Clock;
  readonly #stages = { prepare: 0, readBack: 0, commit: 0, grace: 0, settle: 0 };
  #since: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#since = clock.monotonicMs();
  }

  mark(stage: keyof TransactionResult["timingsMs"]): void {
    const now = this.#clock.monotonicMs();
    this.#stages[stage] = now - this.#since;
    this.#since = now;
  }

  stages(): TransactionResult["timingsMs"] {
    return this.#stages;
  }
}

function stalePlan(planned: bigint, found: bigint): PenstockError {
  return new PenstockError({
    code: "plan-stale",
    disposition: "transient",
    message: `Cannot apply the plan: it was made for generation ${planned}, and the kernel is at ${found}`,
    remedy: "Plan again",
  });
}

function asSettleError(error: unknown): PenstockError {
  return error instanceof PenstockError ? error : bug(`Cannot clean up after the commit: ${String(error)}`);
}
