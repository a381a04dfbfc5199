// The transaction: prepare, read back, commit, grace, confirm, settle; or abort; or revert. Until the commit, which is
// one store, nothing that packets see changes; after it only cleaning up is left, and going back is one store too.
// See bpf/lib/generation.h.
import { asPenstockError, bug, type Clock, PenstockError } from "../base/index.ts";
import type { Attachment } from "../compile/index.ts";
import { countGone, diffWhileReading, type TableDiff } from "./diff.ts";
import type { Datapath } from "./ports.ts";
import { refusedWrite } from "./refusals.ts";
import { chunkChanges, type RawChunk, spansOf, Writes } from "./writes.ts";

/** What a transaction does, as the plan says. */
export interface TransactionPlan {
  /** The generation that the diffs were made against. */
  readonly generation: bigint;
  readonly diffs: readonly TableDiff[];
  readonly attach: readonly Attachment[];
  readonly detach: readonly { readonly program: string; readonly index: number }[];
  /** Rule ids that get a new meaning and start counting at zero. */
  readonly freshRuleIds: readonly number[];
  /** Rule ids that mean nothing after the commit. */
  readonly goneRuleIds: readonly number[];
}

export interface TransactionOptions {
  readonly clock: Clock;
  /** Looks whether the host is well under the new generation; throws if not, and everything is taken back. */
  readonly confirm?: () => Promise<void>;
}

export interface TransactionResult {
  readonly generation: { readonly before: bigint; readonly after: bigint };
  /** Entries written before the commit, and entries removed after it. */
  readonly written: number;
  readonly removed: number;
  /** Milliseconds for each stage; most of what is written is read back while preparing. */
  readonly timingsMs: Readonly<Record<Stage, number>>;
  /** Set if the commit stands but cleaning up after it failed: the next start or scan does it. */
  readonly settleError: PenstockError | undefined;
}

type Stage = "prepare" | "readBack" | "commit" | "grace" | "confirm" | "settle";

/** The writes of one table, and how far they got. */
interface TableRun {
  readonly writes: Writes;
  /** Changes that the kernel may hold. */
  attempted: number;
  /** Entries that it holds; what refers to a device and goes is not written before. */
  written: number;
}

/**
 * Runs a transaction. Throws if it could not be committed, or was taken back (`reverted`); what packets see is then
 * what it was before (the error says if cleaning up failed too, which the next start repairs).
 */
export async function runTransaction(
  datapath: Datapath,
  plan: TransactionPlan,
  options: TransactionOptions,
): Promise<TransactionResult> {
  const { current, last } = datapath.generation();
  if (current !== plan.generation) throw stalePlan(plan.generation, current);
  // Normally last is not below current; if somebody wrote the record, what is prepared must not be visible yet.
  const target = BigInt(Math.max(Number(current), Number(last)) + 1);
  const run = new TransactionRun(datapath, plan, { current, target, timer: new StageTimer(options.clock) });
  await run.prepare();
  run.commit();
  if (options.confirm !== undefined) await run.confirm(options.confirm);
  return run.settle();
}

class TransactionRun {
  readonly #datapath: Datapath;
  readonly #plan: TransactionPlan;
  readonly #current: bigint;
  readonly #target: bigint;
  readonly #timer: StageTimer;
  readonly #tables: TableRun[] = [];
  readonly #undo: (() => void)[] = [];
  #isPast = false;

  constructor(
    datapath: Datapath,
    plan: TransactionPlan,
    at: { readonly current: bigint; readonly target: bigint; readonly timer: StageTimer },
  ) {
    this.#datapath = datapath;
    this.#plan = plan;
    this.#current = at.current;
    this.#target = at.target;
    this.#timer = at.timer;
  }

  /** Everything up to the commit; aborts on any failure. */
  async prepare(): Promise<void> {
    const datapath = this.#datapath;
    const [current, target] = [this.#current, this.#target];
    try {
      for (const diff of this.#plan.diffs) {
        if (diff.changes.count === 0) continue;
        this.#tables.push({ writes: await Writes.of(diff, { current, target }), attempted: 0, written: 0 });
      }
      datapath.takeGeneration(target);
      await this.#write();
      this.#timer.mark("prepare");
      for (const { writes } of this.#tables)
        if (isReadAtOnce(writes.diff)) await this.#readBackAll(writes.diff);
      this.#timer.mark("readBack");
      const { current: now, last: taken } = datapath.generation();
      if (now !== current || taken !== target) throw stalePlan(current, now);
    } catch (error) {
      throw await this.#abort(error);
    }
  }

  commit(): void {
    this.#datapath.commit(this.#target);
    this.#timer.mark("commit");
  }

  /** Waits for packets of the old generation and asks whether all is well; takes everything back if not. */
  async confirm(confirm: () => Promise<void>): Promise<void> {
    try {
      await this.#passGrace();
      await confirm();
      this.#timer.mark("confirm");
    } catch (thrown) {
      this.#datapath.commit(this.#current);
      const cause = asPenstockError(thrown);
      const reverted = new PenstockError({
        code: "reverted",
        disposition: "stalled",
        message: `Cannot keep generation ${this.#target}: ${cause.message}. Packets see generation ${this.#current} again`,
        ...(cause.remedy === undefined ? {} : { remedy: cause.remedy }),
        data: { cause: cause.code },
        cause,
      });
      // Packets may carry the generation that is gone: what it needs stays until they have passed.
      throw await this.#abort(reverted, { afterGrace: true });
    }
  }

  async settle(): Promise<TransactionResult> {
    let removed = 0;
    let settleError: PenstockError | undefined;
    try {
      await this.#passGrace();
      this.#datapath.retire(this.#target);
      // A program that looked just before was told that the old generation is whole, and may be using it.
      this.#timer.mark("settle");
      await this.#datapath.grace();
      this.#timer.mark("grace");
      removed = await this.#removeThePast();
    } catch (error) {
      settleError = asSettleError(error);
    }
    this.#timer.mark("settle");
    return {
      generation: { before: this.#current, after: this.#target },
      written: this.#tables.reduce((sum, { written }) => sum + written, 0),
      removed,
      timingsMs: this.#timer.stages(),
      settleError,
    };
  }

  async #passGrace(): Promise<void> {
    if (this.#isPast) return;
    await this.#datapath.grace();
    this.#isPast = true;
    this.#timer.mark("grace");
  }

  async #write(): Promise<void> {
    const datapath = this.#datapath;
    const { freshRuleIds, attach } = this.#plan;
    if (freshRuleIds.length > 0) await datapath.clearCounters(freshRuleIds);
    // Whatever the bound was, packets must walk over all that they see before and after the commit.
    for (const diff of this.#ordered()) await datapath.setEnd(diff.spec, Math.max(diff.end, diff.endBefore));
    // What versioned entries refer to stands before they do.
    for (const table of this.#referencesFirst()) await this.#writeTable(table);
    // A program without a binding passes everything, so attaching before the commit changes nothing.
    for (const attachment of attach) {
      const back = datapath.attach(attachment);
      if (back !== undefined) this.#undo.push(back);
    }
  }

  /**
   * While the kernel takes a chunk, the one before is read back and the next one is made. What was written must be
   * what the kernel holds.
   */
  async #writeTable(table: TableRun): Promise<void> {
    const { diff } = table.writes;
    const readsAll = isReadAtOnce(diff);
    // A hash takes two chunks at once, each bucket having a lock of its own; a trie has one lock for all.
    const lanes = readsAll && diff.spec.shape === "keyed" ? 2 : 1;
    const under: Promise<void>[] = [];
    const land = async (most: number) => {
      while (under.length > most) await under.shift();
    };
    let before: WrittenChunk | undefined;
    try {
      for (const span of spansOf(diff.changes.count)) {
        const chunk = table.writes.prepared(span);
        await land(lanes - 1);
        table.attempted = span.to;
        table.written += chunk.count;
        if (chunk.count > 0) under.push(this.#datapath.write(diff.spec, chunk.keys, chunk.values));
        // Whoever awaits it later meets its error; until then nobody does.
        under.at(-1)?.catch(() => undefined);
        if (before !== undefined && !readsAll) await this.#readBack(diff, before);
        before = { chunk, from: span.from };
      }
      await land(0);
      if (before !== undefined && !readsAll) await this.#readBack(diff, before);
    } catch (error) {
      await Promise.allSettled(under);
      const capacity = this.#datapath.capacityOf(diff.spec);
      throw refusedWrite(diff, error, { attempted: table.attempted, capacity });
    }
  }

  async #readBack({ spec }: TableDiff, { chunk, from }: WrittenChunk): Promise<void> {
    const { keys, values, count } = chunk;
    const found = await this.#datapath.lookup(spec, keys);
    if (Buffer.compare(found, values) === 0) return;
    const size = spec.valueSize;
    for (let at = 0; at < count * size; at += size) {
      if (Buffer.compare(found.subarray(at, at + size), values.subarray(at, at + size)) !== 0)
        throw misread(spec.name, `entry ${from + at / size} is not what was written`);
    }
  }

  async #readBackAll({ spec, desired, owner }: TableDiff): Promise<void> {
    const seen = await diffWhileReading(this.#datapath, desired, {
      generation: this.#target,
      capacity: this.#datapath.capacityOf(spec),
      owner,
    });
    // Entries that go stand there until the past is removed; nothing else may be otherwise than wanted.
    const unseen = countGone(seen) - seen.changes.countOf("remove");
    const wrong = seen.changes.count - unseen;
    if (wrong > 0) throw misread(spec.name, `${wrong} entries would not be what is wanted`);
  }

  /** Puts back what was done, as far as it got; returns the error to throw. */
  async #abort(cause: unknown, { afterGrace } = { afterGrace: false }): Promise<unknown> {
    const datapath = this.#datapath;
    try {
      if (afterGrace) await datapath.grace();
      for (const { writes, attempted } of this.#tables.toReversed()) {
        // First what is too much: some kernels replace nothing in a full trie.
        for (const span of spansOf(attempted)) {
          const { created } = writes.before(span);
          if (created.length > 0) await datapath.remove(writes.diff.spec, created);
        }
        for (const span of spansOf(attempted)) {
          const { back } = writes.before(span);
          if (back.count > 0) await datapath.write(writes.diff.spec, back.keys, back.values);
        }
      }
      for (const diff of this.#ordered()) await datapath.setEnd(diff.spec, diff.endBefore);
      for (const back of this.#undo.toReversed()) back();
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

  async #removeThePast(): Promise<number> {
    const datapath = this.#datapath;
    let removed = 0;
    for (const { program, index } of this.#plan.detach) datapath.detach(program, index);
    if (this.#plan.goneRuleIds.length > 0) await datapath.clearCounters(this.#plan.goneRuleIds);
    for (const diff of this.#ordered()) await datapath.setEnd(diff.spec, diff.end);
    // References first: that they are left over is told by the names in the directory, which go after them.
    for (const { writes } of this.#referencesFirst()) {
      const { spec, changes } = writes.diff;
      for (const span of spansOf(changes.count)) {
        const gone = writes.gone(span);
        if (gone.length === 0) continue;
        await datapath.remove(spec, gone);
        removed += gone.length / spec.keySize;
      }
    }
    return removed;
  }

  #referencesFirst(): TableRun[] {
    const rank = ({ writes }: TableRun) => Number(writes.diff.spec.shape !== "references");
    return this.#tables.toSorted((a, b) => rank(a) - rank(b));
  }

  #ordered(): TableDiff[] {
    return this.#plan.diffs.filter((diff) => diff.spec.shape === "ordered");
  }
}

/**
 * Whether reading the whole table is less work than asking for each entry: in batches an entry costs a third to a half
 * of a single look-up, comparison and all.
 */
function isReadAtOnce({ spec, changes, observed }: TableDiff): boolean {
  const inBatches = spec.shape === "keyed" || spec.shape === "prefix";
  return inBatches && changes.count > chunkChanges && changes.count > observed.count;
}

/** A chunk and the number of its first change. */
interface WrittenChunk {
  readonly chunk: RawChunk;
  readonly from: number;
}

class StageTimer {
  readonly #clock: Clock;
  readonly #stages: Record<Stage, number> = {
    prepare: 0,
    readBack: 0,
    commit: 0,
    grace: 0,
    confirm: 0,
    settle: 0,
  };
  #since: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#since = clock.monotonicMs();
  }

  mark(stage: Stage): void {
    const now = this.#clock.monotonicMs();
    this.#stages[stage] += now - this.#since;
    this.#since = now;
  }

  stages(): Readonly<Record<Stage, number>> {
    return this.#stages;
  }
}

function misread(table: string, what: string): PenstockError {
  return new PenstockError({
    code: "read-back-differs",
    disposition: "transient",
    message: `Cannot commit: in ${table} ${what}`,
    remedy: "Look for another process that writes these maps (bpftool map show)",
    data: { table },
  });
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
