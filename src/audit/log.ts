// The audit log's writer: one record for each attempt, chained and on the disk before append() returns.
// One process writes a log at a time: whoever opens it holds the agent's lock.
import { join } from "node:path";
import { bug, type Clock, PenstockError } from "../base/index.ts";
import { type PreparedEntry, prepareEntry, sealRecord } from "./entry.ts";
import { chainBroken, isNoSpace, toWriteFailure } from "./failures.ts";
import { type AuditIo, diskIo, errorCode, writeFully } from "./io.ts";
import { currentName, reserveName, rotatedName, writeHead } from "./layout.ts";
import { type ReadOptions, readRecords } from "./read.ts";
import type { AuditEntry, AuditRecord, ChainEnd } from "./record.ts";
import { recoverLog, type Tail } from "./recover.ts";
import { fillReserve, spendReserve } from "./reserve.ts";

export interface AuditLogOptions {
  /** Made with mode 0700 if it does not exist; refused if others may write it. */
  readonly directory: string;
  readonly clock: Clock;
  /** A file that would grow beyond this is rotated away first; 64 MiB if absent. */
  readonly fileBytesMax?: number;
  /** The disk; given by tests. */
  readonly io?: AuditIo;
}

export interface AuditLog {
  readonly directory: string;
  /** The newest record that is on the disk. */
  readonly end: ChainEnd;
  /** What had to be put right, at opening and since, in words. Empty after an orderly stop. */
  readonly repairs: readonly string[];
  /**
   * Writes one record; it is on the disk when the promise resolves. Calls are carried out in their order. Throws
   * `audit-write-failed` if it could not be written (then it is not in the log, or is found and reported in
   * `repairs` later), `audit-chain-broken` if the log was tampered with, a bug for what is not an entry.
   */
  append(entry: AuditEntry): Promise<AuditRecord>;
  /**
   * To be called before anything is done that must be recorded: when it resolves, the next append (the next one
   * only, whoever calls it) has its space even on a full disk. Throws as append does.
   */
  reserve(): Promise<void>;
  /** What reserve() would throw, or null: for reports on the host's state. */
  checkWritable(): Promise<PenstockError | null>;
  /** Newest first: see readAuditRecords. */
  records(options?: ReadOptions): AsyncGenerator<AuditRecord>;
  /** Waits for the calls made before. */
  close(): Promise<void>;
}

const fileBytesMaxDefault = 64 * 1024 * 1024;
/** Calls that may wait; attempts come one by one, so more than this says that the disk does not answer. */
const pendingMax = 1000;

/** The first ones tell the most. */
const repairsMax = 100;

/** Opens or begins a log. Throws `audit-chain-broken` rather than continue one that was tampered with. */
export async function openAuditLog(options: AuditLogOptions): Promise<AuditLog> {
  const { directory, clock, fileBytesMax = fileBytesMaxDefault, io = diskIo } = options;
  try {
    const { tail, repairs } = await recoverLog({ io, directory, clock });
    return new AuditWriter({ directory, clock, fileBytesMax, io }, tail, repairs);
  } catch (error) {
    throw toWriteFailure(error, "open the audit log", directory);
  }
}

class AuditWriter implements AuditLog {
  readonly #options: Required<AuditLogOptions>;
  readonly #repairs: string[];
  #tail: Tail;
  #headSequence: number;
  /** An operation failed halfway: what is on the disk has to be read again before the next one. */
  #unsure = false;
  #closed = false;
  #queue: Promise<unknown> = Promise.resolve();
  #pending = 0;

  constructor(options: Required<AuditLogOptions>, tail: Tail, repairs: readonly string[]) {
    this.#options = options;
    this.#tail = tail;
    this.#headSequence = tail.end.sequence;
    this.#repairs = [...repairs];
  }

  get directory(): string {
    return this.#options.directory;
  }

  get end(): ChainEnd {
    return this.#tail.end;
  }

  get repairs(): readonly string[] {
    return [...this.#repairs];
  }

  async append(entry: AuditEntry): Promise<AuditRecord> {
    const prepared = prepareEntry(entry);
    return await this.#enqueue("write an audit record", () => this.#appendNow(prepared));
  }

  async reserve(): Promise<void> {
    await this.#enqueue("reserve space for an audit record", async () => {
      await this.#makeReady();
      await fillReserve(this.#options.io, this.directory);
    });
  }

  async checkWritable(): Promise<PenstockError | null> {
    try {
      await this.reserve();
      return null;
    } catch (error) {
      if (error instanceof PenstockError && error.disposition !== "bug") return error;
      throw error;
    }
  }

  records(options: ReadOptions = {}): AsyncGenerator<AuditRecord> {
    return readRecords(this.#options.io, this.directory, options);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    const closing = this.#enqueue("close the audit log", () => this.#tail.file.close());
    this.#closed = true;
    await closing;
  }

  async #appendNow(prepared: PreparedEntry): Promise<AuditRecord> {
    await this.#makeReady();
    const { record, line } = sealRecord(prepared, this.#tail.end, this.#options.clock.now());
    const end: ChainEnd = { sequence: record.sequence, hash: record.hash };
    this.#unsure = true;
    await this.#writeLine(line, end);
    this.#unsure = false;
    try {
      await this.#writeHead();
    } catch (error) {
      // The record is on the disk. A head one record behind is sound; #makeReady writes it before another is added.
      if (errorCode(error) === undefined) throw error;
    }
    return record;
  }

  /** Brings memory and disk into agreement: after a failure, and if another process wrote the log. */
  async #makeReady(): Promise<void> {
    const { io, directory } = this.#options;
    if (!this.#unsure) {
      const facts = await io.stat(join(directory, currentName));
      if (facts?.inode !== this.#tail.inode || facts.size !== this.#tail.size) {
        this.#note(`${currentName} was changed by another process; it was read again`);
        this.#unsure = true;
      }
    }
    if (this.#unsure) await this.#readAgain();
    if (this.#headSequence !== this.#tail.end.sequence) await this.#writeHead();
  }

  async #readAgain(): Promise<void> {
    const known = this.#tail.end;
    const { tail, repairs } = await recoverLog(this.#options);
    this.#note(...repairs);
    try {
      await this.#requireRecord(known);
    } catch (error) {
      await tail.file.close();
      throw error;
    }
    await this.#replaceTail(tail);
    this.#headSequence = tail.end.sequence;
    if (tail.end.sequence > known.sequence) {
      const which = `record ${known.sequence + 1} to ${tail.end.sequence}`;
      this.#note(`${which} is in the log though no append of this process reported it as written`);
    }
    this.#unsure = false;
  }

  /** What this process wrote is the one thing that a tampered log and head cannot both get right. */
  async #requireRecord(known: ChainEnd): Promise<void> {
    if (known.sequence === 0) return;
    const { io, directory } = this.#options;
    for await (const record of readRecords(io, directory, { from: known.sequence, limit: 1 })) {
      if (record.sequence === known.sequence && record.hash === known.hash) return;
    }
    throw chainBroken(directory, `record ${known.sequence} is not the one that this process wrote`);
  }

  async #writeLine(line: Uint8Array, end: ChainEnd): Promise<void> {
    try {
      if (this.#tail.size > 0 && this.#tail.size + line.length > this.#options.fileBytesMax) {
        await this.#startFile();
      }
      await writeFully(this.#tail.file, line, this.#tail.size);
      await this.#tail.file.sync();
      this.#tail = { ...this.#tail, size: this.#tail.size + line.length, end };
    } catch (error) {
      const clean = await this.#takeBack();
      const written = clean && isNoSpace(error) && (await this.#writeThroughReserve(line, end));
      if (!written) throw error;
    }
  }

  /** Removes what a failed write left. False if that fails too: then #readAgain repairs it, here or after a restart. */
  async #takeBack(): Promise<boolean> {
    const { file, size } = this.#tail;
    try {
      await file.truncate(size);
      await file.sync();
      return true;
    } catch (error) {
      if (errorCode(error) === undefined) throw error;
      return false;
    }
  }

  async #startFile(): Promise<void> {
    const { io, directory } = this.#options;
    await this.#moveCurrentAway();
    const file = await io.open(join(directory, currentName), "create");
    const { inode } = await file.stat();
    await this.#replaceTail({ ...this.#tail, file, inode, size: 0, firstSequence: this.#nextSequence() });
    await io.syncDirectory(directory);
  }

  /** False if there is no reserve. The reserve becomes the current file: see reserve.ts. */
  async #writeThroughReserve(line: Uint8Array, end: ChainEnd): Promise<boolean> {
    const { io, directory } = this.#options;
    const file = await spendReserve(io, directory, line);
    if (file === null) return false;
    try {
      if (this.#tail.size > 0) await this.#moveCurrentAway();
      await io.rename(join(directory, reserveName), join(directory, currentName));
      await io.syncDirectory(directory);
      const { inode } = await file.stat();
      const firstSequence = this.#nextSequence();
      await this.#replaceTail({ file, inode, size: line.length, firstSequence, end });
      return true;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async #moveCurrentAway(): Promise<void> {
    const { io, directory } = this.#options;
    const target = join(directory, rotatedName(this.#tail.firstSequence));
    const current = await io.stat(join(directory, currentName));
    // Gone already if a rotation stopped halfway for want of space.
    if (current?.inode !== this.#tail.inode) return;
    if ((await io.stat(target)) !== null) throw chainBroken(directory, `${target} exists already`);
    await io.rename(join(directory, currentName), target);
    // Before another file takes the name: after a loss of power there must not be that one and not this.
    await io.syncDirectory(directory);
  }

  #note(...repairs: readonly string[]): void {
    this.#repairs.push(...repairs.slice(0, repairsMax - this.#repairs.length));
  }

  #nextSequence(): number {
    return this.#tail.end.sequence + 1;
  }

  async #replaceTail(tail: Tail): Promise<void> {
    const { file } = this.#tail;
    this.#tail = tail;
    await file.close().catch(() => undefined);
  }

  async #writeHead(): Promise<void> {
    const { end } = this.#tail;
    await writeHead(this.#options.io, this.directory, end);
    this.#headSequence = end.sequence;
  }

  async #enqueue<T>(action: string, task: () => Promise<T>): Promise<T> {
    if (this.#closed) throw bug(`Cannot ${action}: the audit log is closed`);
    if (this.#pending >= pendingMax)
      throw bug(`Cannot ${action}: ${pendingMax} calls are waiting for the disk`);
    this.#pending++;
    const run = this.#queue.then(task);
    this.#queue = run.catch(() => undefined);
    try {
      return await run;
    } catch (error) {
      throw toWriteFailure(error, action, this.directory);
    } finally {
      this.#pending--;
    }
  }
}
