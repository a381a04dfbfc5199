// A disk for the audit log's tests: the fake side of the AuditIo port. It keeps apart what was written and what
// would survive a loss of power, can fill up, and can fail or die at any operation.
import { basename } from "node:path";
import type { AuditFile, AuditIo, FileFacts, OpenHow } from "../../src/audit/io.ts";

/** Picks an integer from 0 to `max`, inclusive. */
export type Pick = (max: number) => number;

type Pending =
  | { readonly kind: "write"; readonly bytes: Uint8Array; readonly position: number }
  | { readonly kind: "truncate"; readonly size: number };

interface Inode {
  readonly id: number;
  data: Buffer;
  mode: number;
  /** Content at the last sync, and what happened since. */
  durable: Buffer;
  pending: Pending[];
}

type DirectoryChange = (entries: Map<string, Inode>) => void;

export interface Fault {
  /** The operation that fails, counted from 1; only operations that change something count. */
  readonly operation: number;
  readonly code: "ENOSPC" | "EIO" | "crash";
  /** True: every later operation fails too. A crash always lasts. */
  readonly lasting?: boolean;
}

const block = 4096;

export class MemoryDisk implements AuditIo {
  readonly #entries = new Map<string, Inode>();
  #durableEntries = new Map<string, Inode>();
  #pendingEntries: DirectoryChange[] = [];
  #inodes = 0;
  #operations = 0;
  #fault: Fault | undefined;
  /** Bytes that files may take; set it to `used` to fill the disk. */
  capacity = Number.POSITIVE_INFINITY;
  /** True: somebody else takes every byte that becomes free. */
  greedy = false;

  get operations(): number {
    return this.#operations;
  }

  get used(): number {
    return [...this.#entries.values()].reduce((sum, inode) => sum + allocated(inode.data.length), 0);
  }

  failAt(fault: Fault | undefined): void {
    this.#operations = 0;
    this.#fault = fault;
  }

  names(): string[] {
    return [...this.#entries.keys()].sort();
  }

  content(name: string): Buffer {
    const inode = this.#entries.get(name);
    if (inode === undefined) throw new Error(`no ${name} on the disk`);
    return inode.data;
  }

  /** Puts content there as a tamperer or an earlier program would; undefined removes the file. */
  put(name: string, data: Uint8Array | undefined): void {
    if (data === undefined) this.#entries.delete(name);
    else
      this.#entries.set(name, { ...this.#newInode(), data: Buffer.from(data), durable: Buffer.from(data) });
    this.#durableEntries = new Map(this.#entries);
    this.#pendingEntries = [];
  }

  copy(): MemoryDisk {
    const disk = new MemoryDisk();
    for (const [name, inode] of this.#entries) disk.put(name, inode.data);
    return disk;
  }

  /**
   * What is found after a loss of power: of all that was not synced, `pick` decides what made it, and how much
   * of each write.
   */
  afterCrash(pick: Pick): MemoryDisk {
    const entries = new Map(this.#durableEntries);
    for (const change of this.#pendingEntries) if (pick(1) === 1) change(entries);
    const disk = new MemoryDisk();
    for (const [name, inode] of entries) {
      let data = inode.durable;
      for (const change of inode.pending) {
        const length = change.kind === "write" ? pick(change.bytes.length) : pick(1);
        if (length > 0) data = apply(data, change, length);
      }
      disk.put(name, data);
    }
    return disk;
  }

  async open(path: string, how: OpenHow): Promise<AuditFile> {
    const name = basename(path);
    let inode = this.#entries.get(name);
    if (how === "create" && inode !== undefined) throw failure("EEXIST", "open");
    if (how === "read" || how === "update") {
      if (inode === undefined) throw failure("ENOENT", "open");
      return this.#toFile(inode);
    }
    this.#step("open");
    if (inode === undefined) {
      inode = this.#newInode();
      const made = inode;
      this.#changeEntries((entries) => entries.set(name, made));
    }
    this.#change(inode, { kind: "truncate", size: 0 }, 1);
    return this.#toFile(inode);
  }

  async stat(path: string): Promise<FileFacts | null> {
    const inode = this.#entries.get(basename(path));
    // The one directory is known by having no file's name.
    if (inode === undefined) return path.endsWith("/audit") ? { ...noFacts, mode: 0o700 } : null;
    return factsOf(inode);
  }

  async list(): Promise<readonly string[]> {
    return this.names();
  }

  async rename(from: string, to: string): Promise<void> {
    const inode = this.#entries.get(basename(from));
    if (inode === undefined) throw failure("ENOENT", "rename");
    this.#step("rename");
    this.#changeEntries((entries) => {
      entries.delete(basename(from));
      entries.set(basename(to), inode);
    });
    this.#takeFreed();
  }

  async makeDirectory(): Promise<void> {}

  async syncDirectory(): Promise<void> {
    this.#step("fsync");
    this.#durableEntries = new Map(this.#entries);
    this.#pendingEntries = [];
  }

  #toFile(inode: Inode): AuditFile {
    return {
      read: async (into, position) => inode.data.subarray(position).copy(into),
      write: async (bytes, position) => this.#write(inode, bytes, position),
      truncate: async (size) => {
        this.#step("ftruncate");
        this.#change(inode, { kind: "truncate", size }, 1);
        this.#takeFreed();
      },
      sync: async () => {
        this.#step("fdatasync");
        inode.durable = inode.data;
        inode.pending = [];
      },
      setMode: async (mode) => {
        this.#step("fchmod");
        inode.mode = mode;
      },
      stat: async () => factsOf(inode),
      close: async () => {},
    };
  }

  #write(inode: Inode, bytes: Uint8Array, position: number): number {
    const change: Pending = { kind: "write", bytes: Uint8Array.from(bytes), position };
    try {
      this.#step("write");
    } catch (error) {
      // A write that fails or is cut off by a crash may have got some way.
      const part = Math.floor(bytes.length / 2);
      if (this.#operations === this.#fault?.operation) this.#change(inode, change, part);
      throw error;
    }
    const room = this.capacity - this.used + allocated(inode.data.length);
    const length = Math.min(bytes.length, room - position);
    if (length <= 0) throw failure("ENOSPC", "write");
    this.#change(inode, change, length);
    return length;
  }

  #change(inode: Inode, change: Pending, length: number): void {
    const part = change.kind === "write" ? { ...change, bytes: change.bytes.subarray(0, length) } : change;
    inode.pending.push(part);
    inode.data = apply(inode.data, part, length);
  }

  #changeEntries(change: DirectoryChange): void {
    change(this.#entries);
    this.#pendingEntries.push(change);
  }

  #takeFreed(): void {
    if (this.greedy) this.capacity = this.used;
  }

  #newInode(): Inode {
    return { id: ++this.#inodes, data: Buffer.alloc(0), mode: 0o600, durable: Buffer.alloc(0), pending: [] };
  }

  #step(syscall: string): void {
    const fault = this.#fault;
    const operation = ++this.#operations;
    if (fault === undefined || operation < fault.operation) return;
    const lasts = fault.lasting === true || fault.code === "crash";
    if (operation > fault.operation && !lasts) return;
    throw failure(fault.code === "crash" ? "EIO" : fault.code, syscall);
  }
}

/** A generator of picks that gives the same sequence for the same seed. */
export function seededPick(seed: number): Pick {
  let state = (seed * 2654435761 + 1) >>> 0;
  return (max) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * (max + 1));
  };
}

function apply(data: Buffer, change: Pending, length: number): Buffer {
  if (change.kind === "truncate") {
    const out = Buffer.alloc(change.size);
    data.copy(out, 0, 0, change.size);
    return out;
  }
  const part = change.bytes.subarray(0, length);
  const out = Buffer.alloc(Math.max(data.length, change.position + part.length));
  data.copy(out);
  out.set(part, change.position);
  return out;
}

const noFacts: FileFacts = { size: 0, allocated: 0, inode: 0, mode: 0 };

function factsOf(inode: Inode): FileFacts {
  const { id, data, mode } = inode;
  return { size: data.length, allocated: allocated(data.length), inode: id, mode };
}

function allocated(size: number): number {
  return Math.ceil(size / block) * block;
}

function failure(code: string, syscall: string): Error {
  return Object.assign(new Error(`${code}: ${syscall}`), { code, syscall });
}
