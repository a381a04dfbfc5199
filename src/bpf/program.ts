// One loaded BPF program: an open descriptor with its name. Running, attaching and pinning take it from here.
import { type Descriptor, ownDescriptor } from "./descriptor.ts";
import { checkResult } from "./kernel-error.ts";
import { type Handle, libbpf } from "./libbpf.ts";
import { type ProgramInfo, readProgramInfo, readProgramMapIds } from "./object-info.ts";
import { openPin, pinObject } from "./pins.ts";

/** A program that is loaded in the kernel. */
export class BpfProgram {
  /** Full name of the function; the kernel keeps only 15 bytes of it. */
  readonly name: string;
  /** Number of PROGRAM_TYPE. */
  readonly type: number;
  /** ELF section that it came from (`xdp`, `tc`, `uprobe`); undefined if it was opened from a pin. */
  readonly section: string | undefined;
  readonly #descriptor: Descriptor;
  readonly #handle: Handle;

  /** Takes over `descriptor`; `loaded` are the facts that only the object file has. */
  constructor(
    descriptor: Descriptor,
    name: string | undefined,
    loaded?: { readonly section: string; readonly handle: Handle },
  ) {
    const info = readProgramInfo(descriptor.fd, `program ${name ?? "without a name"}`);
    this.#descriptor = descriptor;
    this.#handle = loaded?.handle ?? null;
    this.name = name ?? info.name;
    this.type = info.type;
    this.section = loaded?.section;
  }

  /** The descriptor's number. Throws `invariant-broken` once the program was closed. */
  get fd(): number {
    return this.#descriptor.fd;
  }

  /** libbpf's struct bpf_program; null if the program was opened from a pin or its object is closed. */
  get handle(): Handle {
    return this.#descriptor.closed ? null : this.#handle;
  }

  info(): ProgramInfo {
    return readProgramInfo(this.fd, `program ${this.name}`);
  }

  /** Ids of all maps that live as long as this program: those that it looks up and those that it was bound to. */
  mapIds(): readonly number[] {
    return readProgramMapIds(this.fd, `program ${this.name}`);
  }

  /** Lets a map live as long as this program (BPF_PROG_BIND_MAP); nothing happens if it does already. */
  bind(map: { readonly fd: number; readonly name: string }): void {
    const call = "bpf_prog_bind_map";
    const result = libbpf()[call](this.fd, map.fd, null);
    checkResult(result, { action: `bind map ${map.name} to`, object: `program ${this.name}`, call });
  }

  /** Pins the program at `path`, replacing what is pinned there. */
  pin(path: string): void {
    pinObject(this.fd, `program ${this.name}`, path);
  }

  close(): void {
    this.#descriptor.close();
  }
}

/** Opens the program pinned at `path`; undefined if nothing is pinned there. */
export function openPinnedProgram(path: string, name?: string): BpfProgram | undefined {
  const descriptor = openPin(path, `program ${name ?? path.slice(path.lastIndexOf("/") + 1)}`);
  return descriptor === undefined ? undefined : adoptProgram(descriptor, name);
}

/** Opens the program with this id, as found in a link or on an interface. Throws `kernel-call-failed`. */
export function openProgramById(id: number, name?: string): BpfProgram {
  const call = "bpf_prog_get_fd_by_id";
  const fd = checkResult(libbpf()[call](id), { action: "open", object: `program with id ${id}`, call });
  return adoptProgram(ownDescriptor(fd, `program with id ${id}`), name);
}

export interface ProgramSource {
  readonly name: string;
  /** A number of PROGRAM_TYPE. */
  readonly type: number;
  /** Encoded instructions, 8 bytes each. */
  readonly instructions: Uint8Array;
}

/** Loads a program without an object file: for probing and for pass-through programs. License GPL. */
export function loadProgram({ name, type, instructions }: ProgramSource): BpfProgram {
  const call = "bpf_prog_load";
  const fd = libbpf()[call](type, name.slice(0, 15), "GPL", instructions, instructions.length / 8, null);
  checkResult(fd, { action: "load", object: `program ${name}`, call });
  return adoptProgram(ownDescriptor(fd, `program ${name}`), name);
}

/** `r0 = value; exit`: a program that only gives a verdict. */
export function encodeVerdict(value: number): Uint8Array {
  const code = new DataView(new ArrayBuffer(16));
  code.setUint8(0, 0xb7);
  code.setInt32(4, value, true);
  code.setUint8(8, 0x95);
  return new Uint8Array(code.buffer);
}

function adoptProgram(descriptor: Descriptor, name: string | undefined): BpfProgram {
  try {
    return new BpfProgram(descriptor, name);
  } catch (cause) {
    descriptor.close();
    throw cause;
  }
}
