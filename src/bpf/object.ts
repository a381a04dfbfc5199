// One object file, opened, sized and loaded into the kernel: its maps and programs by name. Loading attaches
// and pins nothing; both are separate, explicit steps.
import { basename } from "node:path";
import { ownDescriptor } from "./descriptor.ts";
import { ERRNO } from "./errno.ts";
import { checkResult, kernelError } from "./kernel-error.ts";
import { collectMessages, type Handle, libbpf } from "./libbpf.ts";
import { addressOf, lastErrno } from "./libc.ts";
import { BpfMap } from "./map.ts";
import { reuseOpen } from "./object-reuse.ts";
import { mismatch, type RodataValue, writeRodata } from "./object-rodata.ts";
import { BpfProgram } from "./program.ts";
import { readLogTail, refusedError } from "./verifier-log.ts";

export interface ObjectOptions {
  /** Capacity by map name, for maps whose size is not the object file's to say. A name must exist in the object. */
  readonly maxEntries?: Readonly<Record<string, number>>;
  /** Constants (`const volatile` in C) by variable name. */
  readonly rodata?: Readonly<Record<string, RodataValue>>;
  /** Open maps to share, by map name; they stay the caller's. */
  readonly sharedMaps?: Readonly<Record<string, BpfMap>>;
  /** First size of the verifier log; it grows to 16 MiB as needed. */
  readonly logBytes?: number;
}

const LOG_BYTES = 256 * 1024;
const LOG_BYTES_MAX = 16 * 1024 * 1024;

/** A loaded object. Its maps and programs are usable until `close`. */
export class BpfObject {
  readonly path: string;
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly programs: ReadonlyMap<string, BpfProgram>;
  /** Names of the maps that were taken over from pins. */
  readonly #handle: Handle;
  #open = true;

  constructor(path: string, handle: Handle) {
    this.path = path;
    this.#handle = handle;
    this.maps = new Map(listMaps(handle).map(({ name, map }) => [name, wrapMap(map, name)]));
    this.programs = new Map(
      listPrograms(handle).map(({ name, program }) => [name, wrapProgram(program, name)]),
    );
  }

  /** The map of this name. Throws `object-mismatch`. */
  map(name: string): BpfMap {
    const map = this.maps.get(name);
    if (map === undefined) throw mismatch(this.path, `it has no map ${name}`);
    return map;
  }

  /** The program of this name. Throws `object-mismatch`. */
  program(name: string): BpfProgram {
    const program = this.programs.get(name);
    if (program === undefined) throw mismatch(this.path, `it has no program ${name}`);
    return program;
  }

  /** Closes all maps and programs of this object. What is pinned or attached lives on. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const map of this.maps.values()) map.close();
    for (const program of this.programs.values()) program.close();
    libbpf().bpf_object__close(this.#handle);
  }
}

/**
 * Opens, sizes and loads an object file. Throws `program-refused` with the tail of the verifier's log,
 * `map-layout-changed`, `object-mismatch`, `kernel-call-failed` or `libbpf-missing`; nothing is left behind then.
 */
export function openObject(path: string, options: ObjectOptions = {}): BpfObject {
  for (let logBytes = options.logBytes ?? LOG_BYTES; ; logBytes *= 8) {
    const handle = openFile(path);
    try {
      prepareMaps(handle, path, options);
      writeRodata(handle, path, options.rodata ?? {});
      const logs = provideLogs(handle, Math.min(logBytes, LOG_BYTES_MAX));
      const { result, messages } = collectMessages(() => libbpf().bpf_object__load(handle));
      if (result >= 0) return new BpfObject(path, handle);
      // Too small a log hides the real error number behind ENOSPC.
      const logIsShort = result === -ERRNO.ENOSPC && logs.size > 0 && logBytes < LOG_BYTES_MAX;
      if (!logIsShort) throw loadError(path, -result, { logs, messages });
    } catch (cause) {
      libbpf().bpf_object__close(handle);
      throw cause;
    }
    libbpf().bpf_object__close(handle);
  }
}

function openFile(path: string): Handle {
  const call = "bpf_object__open_file";
  const { result, messages } = collectMessages(() => {
    const handle = libbpf()[call](path, null);
    return { handle, errno: handle === null ? lastErrno() : 0 };
  });
  if (result.handle !== null) return result.handle;
  throw kernelError({
    action: "open",
    object: `object ${path}`,
    call,
    errno: result.errno,
    detail: messages.at(-1),
  });
}

function prepareMaps(handle: Handle, path: string, options: ObjectOptions): void {
  const maps = listMaps(handle);
  const names = new Set(maps.map(({ name }) => name));
  for (const name of Object.keys({ ...options.maxEntries, ...options.sharedMaps })) {
    if (!names.has(name)) throw mismatch(path, `it has no map ${name}`);
  }
  for (const { name, map } of maps) {
    const entries = options.maxEntries?.[name];
    const call = "bpf_map__set_max_entries";
    if (entries !== undefined) {
      checkResult(libbpf()[call](map, entries), { action: "size", object: `map ${name}`, call });
    }
    const shared = options.sharedMaps?.[name];
    if (shared !== undefined) reuseOpen(map, name, shared);
  }
}

// A buffer for each program, all in one block: after a refusal the one that is not empty tells which it was.
// libbpf asks the kernel for a log only when a load has failed, so this costs nothing where all is well.
function provideLogs(handle: Handle, logBytes: number): Map<string, Uint8Array> {
  const logs = new Map<string, Uint8Array>();
  for (const { name, program } of listPrograms(handle)) {
    const buffer = new Uint8Array(logBytes);
    libbpf().bpf_program__set_log_buf(program, addressOf(buffer), buffer.length);
    logs.set(name, buffer);
  }
  return logs;
}

interface LoadEvidence {
  readonly logs: ReadonlyMap<string, Uint8Array>;
  readonly messages: readonly string[];
}

function loadError(path: string, errno: number, { logs, messages }: LoadEvidence): Error {
  const object = basename(path);
  for (const [program, buffer] of logs) {
    if (buffer[0] !== 0) return refusedError(program, object, { errno, log: readLogTail(buffer) });
  }
  return kernelError({
    action: "load",
    object: `object ${path}`,
    call: "bpf_object__load",
    errno,
    // The first message names the culprit, but for the attempts that libbpf repeats in another way.
    detail: messages.find((message) => !message.includes("Retrying")),
    data: { messages },
  });
}

function wrapMap(map: Handle, name: string): BpfMap {
  return new BpfMap(ownDescriptor(libbpf().bpf_map__fd(map), `map ${name}`, false), name);
}

function wrapProgram(handle: Handle, name: string): BpfProgram {
  const descriptor = ownDescriptor(libbpf().bpf_program__fd(handle), `program ${name}`, false);
  return new BpfProgram(descriptor, name, { section: libbpf().bpf_program__section_name(handle), handle });
}

// Maps of libbpf's own making (.rodata, .bss, ...) are the object's private business and not listed.
function listMaps(object: Handle): { readonly name: string; readonly map: Handle }[] {
  const lib = libbpf();
  const maps = [];
  for (let map = lib.bpf_object__next_map(object, null); map; map = lib.bpf_object__next_map(object, map)) {
    if (!lib.bpf_map__is_internal(map)) maps.push({ name: lib.bpf_map__name(map), map });
  }
  return maps;
}

function listPrograms(object: Handle): { readonly name: string; readonly program: Handle }[] {
  const lib = libbpf();
  const programs = [];
  let program = lib.bpf_object__next_program(object, null);
  while (program) {
    programs.push({ name: lib.bpf_program__name(program), program });
    program = lib.bpf_object__next_program(object, program);
  }
  return programs;
}
