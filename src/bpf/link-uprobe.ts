// Programs on functions of user-space binaries. libbpf finds the symbol; the link that it makes is then taken
// from it, so that it can be pinned and closed like any other.
import { readdirSync, readlinkSync } from "node:fs";
import { ownDescriptor } from "./descriptor.ts";
import { kernelError } from "./kernel-error.ts";
import { collectMessages, libbpf } from "./libbpf.ts";
import { addressOf, cString, lastErrno } from "./libc.ts";
import { BpfLink } from "./link.ts";
import { mismatch } from "./object-rodata.ts";
import type { BpfProgram } from "./program.ts";

export interface UprobeRequest {
  /** From an open object, of a section `uprobe` or `uretprobe`. */
  readonly program: BpfProgram;
  /** The binary or library; a name without a slash is searched for where the loader does. */
  readonly path: string;
  /** Function name, `SSL_write`; for a library one that it exports. */
  readonly symbol: string;
  /** Probe the function's return instead of its entry. */
  readonly atReturn?: boolean;
  /** Only this process; default all. */
  readonly pid?: number;
}

const ALL_PROCESSES = -1;

/** Throws `kernel-call-failed`: ENOENT for a missing file or symbol. */
export function attachUprobe(request: UprobeRequest): BpfLink {
  const { program, path, symbol } = request;
  if (program.handle === null) throw mismatch(path, `program ${program.name} is not from an open object`);
  const name = cString(symbol);
  // struct bpf_uprobe_opts: sz at 0, ref_ctr_offset at 8, bpf_cookie at 16, retprobe at 24, func_name at 32.
  const opts = new DataView(new ArrayBuffer(40));
  opts.setBigUint64(0, 40n, true);
  opts.setUint8(24, request.atReturn === true ? 1 : 0);
  opts.setBigUint64(32, addressOf(name), true);
  const call = "bpf_program__attach_uprobe_opts";
  const before = listPerfEvents();
  const pid = request.pid ?? ALL_PROCESSES;
  const { result, messages } = collectMessages(() => {
    const link = libbpf()[call](program.handle, pid, path, 0, new Uint8Array(opts.buffer));
    return { link, errno: link === null ? lastErrno() : 0 };
  });
  if (result.link === null) {
    throw kernelError({
      action: "attach",
      object: `${program.name} to ${symbol} of ${path}`,
      call,
      errno: result.errno,
      detail: messages[0],
      data: { path, symbol },
    });
  }
  return takeLink(result.link, before, `uprobe link on ${symbol} of ${path}`);
}

// The link holds a reference on its perf event, so the event's own descriptor may go. libbpf would instead switch
// the event off when the link is destroyed, though the link be pinned; "disconnect" keeps it from that.
function takeLink(handle: bigint, before: ReadonlySet<number>, label: string): BpfLink {
  const lib = libbpf();
  const fd = lib.bpf_link__fd(handle);
  lib.bpf_link__disconnect(handle);
  lib.bpf_link__destroy(handle);
  for (const event of listPerfEvents()) {
    if (!before.has(event) && event !== fd) ownDescriptor(event, label).close();
  }
  return new BpfLink(ownDescriptor(fd, label), label);
}

// libbpf has no call that gives the event's descriptor away, but /proc does.
function listPerfEvents(): Set<number> {
  const events = new Set<number>();
  for (const name of readdirSync("/proc/self/fd")) {
    try {
      if (readlinkSync(`/proc/self/fd/${name}`) === "anon_inode:[perf_event]") events.add(Number(name));
    } catch {
      // The descriptor of the listing itself is gone by now.
    }
  }
  return events;
}
