// A BPF link: the kernel object that holds a program at its hook. A pinned link keeps the program there when the
// agent is gone, and its program is exchanged in place, so that no packet passes a hook without a program.
import { type Descriptor, ownDescriptor } from "./descriptor.ts";
import { ERRNO } from "./errno.ts";
import { checkResult, kernelError } from "./kernel-error.ts";
import { libbpf } from "./libbpf.ts";
import { type LinkInfo, readLinkInfo } from "./object-info.ts";
import { openPin, pinObject } from "./pins.ts";

/** What a hook needs of a program; BpfProgram is one. */
export interface AttachableProgram {
  readonly fd: number;
  readonly name: string;
}

const REPLACE_OLD = 4;

/** A link: it holds a program at its hook. */
export class BpfLink {
  /** What it is, for messages: `link xdp on eth0`. */
  readonly label: string;
  readonly #descriptor: Descriptor;

  /** Takes over `descriptor`. */
  constructor(descriptor: Descriptor, label: string) {
    this.#descriptor = descriptor;
    this.label = label;
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  info(): LinkInfo {
    return readLinkInfo(this.fd, this.label);
  }

  /**
   * Exchanges the program in place (BPF_LINK_UPDATE). With `expected` the exchange is refused with EPERM unless
   * that program is the one behind the link. Throws `kernel-call-failed`; ENOLINK says that the interface is gone.
   */
  update(program: AttachableProgram, expected?: AttachableProgram): void {
    // struct bpf_link_update_opts: sz at 0, flags at 8, old_prog_fd at 12.
    const opts = new DataView(new ArrayBuffer(16));
    opts.setBigUint64(0, 16n, true);
    if (expected !== undefined) {
      opts.setUint32(8, REPLACE_OLD, true);
      opts.setUint32(12, expected.fd, true);
    }
    const call = "bpf_link_update";
    const result = libbpf()[call](this.fd, program.fd, new Uint8Array(opts.buffer));
    if (result >= 0) return;
    const changed = result === -ERRNO.EPERM && expected !== undefined;
    throw kernelError({
      action: "put another program behind",
      object: this.label,
      call,
      errno: -result,
      detail: changed ? `it does not run ${expected.name}` : undefined,
      remedy: changed ? "Find out who changed the link: bpftool link show" : undefined,
      data: { program: program.name },
    });
  }

  /** Takes the program from its hook at once, whoever else holds the link. */
  detach(): void {
    const call = "bpf_link_detach";
    checkResult(libbpf()[call](this.fd), { action: "detach", object: this.label, call });
  }

  /** Pins the link at `path`, replacing what is pinned there (whose program leaves its hook with the last holder). */
  pin(path: string): void {
    pinObject(this.fd, this.label, path);
  }

  /** Lets go of the link. The program leaves its hook unless the link is pinned or held elsewhere. */
  close(): void {
    this.#descriptor.close();
  }
}

/** Opens the link pinned at `path`; undefined if nothing is pinned there. */
export function openPinnedLink(path: string): BpfLink | undefined {
  const label = `link ${path.slice(path.lastIndexOf("/") + 1)}`;
  const descriptor = openPin(path, label);
  return descriptor === undefined ? undefined : new BpfLink(descriptor, label);
}

export interface LinkRequest {
  readonly program: AttachableProgram;
  readonly ifindex: number;
  /** A number of ATTACH_TYPE. */
  readonly attachType: number;
  readonly flags?: number;
}

/** bpf_link_create on an interface: the link, or the positive error number. */
export function createLink(request: LinkRequest, label: string): BpfLink | number {
  const { program, ifindex, attachType } = request;
  // struct bpf_link_create_opts: sz at 0, flags at 8. libbpf before 1.3 knows no TCX, but passes it on with no opts.
  const opts = new DataView(new ArrayBuffer(16));
  opts.setBigUint64(0, 16n, true);
  opts.setUint32(8, request.flags ?? 0, true);
  const given = request.flags === undefined ? null : new Uint8Array(opts.buffer);
  const result = libbpf().bpf_link_create(program.fd, ifindex, attachType, given);
  return result < 0 ? -result : new BpfLink(ownDescriptor(result, label), label);
}
