// XDP programs on an interface, through links. Only one XDP program has a place there; that one is never pushed
// aside, because somebody else relies on it.
import { PenstockError } from "../base/index.ts";
import { ATTACH_TYPE, XDP_FLAG } from "./constants.ts";
import { ERRNO } from "./errno.ts";
import { checkResult, describeErrno, kernelError } from "./kernel-error.ts";
import { libbpf } from "./libbpf.ts";
import { type AttachableProgram, type BpfLink, createLink } from "./link.ts";
import { openProgramById } from "./program.ts";

/** `native`: in the driver, before the kernel has a socket buffer; `generic`: after, on any interface. */
export type XdpMode = "native" | "generic";

export interface XdpRequest {
  readonly program: AttachableProgram;
  /** What takes its place in generic mode, if that is another one. */
  readonly genericProgram?: AttachableProgram | undefined;
  readonly ifindex: number;
  /** For messages. */
  readonly interfaceName: string;
  /** `auto` tries native first and takes generic where the driver cannot. */
  readonly mode: XdpMode | "auto";
}

export interface XdpAttachment {
  readonly link: BpfLink;
  readonly mode: XdpMode;
  /** Why native mode was not taken, when `auto` fell back: `EOPNOTSUPP (95)`. */
  readonly fallback: string | undefined;
}

export interface XdpState {
  readonly programId: number;
  readonly mode: XdpMode | "offload" | "several";
}

// What drivers answer that have no native XDP, or not with this MTU or these rings.
const CANNOT_NATIVE: readonly number[] = [
  ERRNO.EOPNOTSUPP,
  ERRNO.ENOTSUPP,
  ERRNO.EINVAL,
  ERRNO.ERANGE,
  ERRNO.EMSGSIZE,
  ERRNO.ENOSPC,
];
const ATTACHED_MODES: Readonly<Record<number, XdpState["mode"]>> = {
  1: "native",
  2: "generic",
  3: "offload",
  4: "several",
};

/** Throws `xdp-occupied` if another program is there, else `kernel-call-failed`. */
export function attachXdp(request: XdpRequest): XdpAttachment {
  const { mode } = request;
  if (mode !== "auto") return { link: attachIn(mode, request), mode, fallback: undefined };
  const label = labelOf(request);
  const native = createLink(linkRequest("native", request), label);
  if (typeof native !== "number") return { link: native, mode: "native", fallback: undefined };
  if (!CANNOT_NATIVE.includes(native)) throw attachError(request, native);
  return { link: attachIn("generic", request), mode: "generic", fallback: describeErrno(native) };
}

/** The XDP program on an interface of this network namespace; undefined if there is none. */
export function queryXdp(ifindex: number): XdpState | undefined {
  // struct bpf_xdp_query_opts: sz at 0, prog_id, drv_prog_id, hw_prog_id and skb_prog_id from 8, attach_mode at 24.
  const opts = new DataView(new ArrayBuffer(32));
  opts.setBigUint64(0, 32n, true);
  const call = "bpf_xdp_query";
  checkResult(libbpf()[call](ifindex, 0, new Uint8Array(opts.buffer)), {
    action: "ask for the XDP program of",
    object: `interface ${ifindex}`,
    call,
  });
  const mode = ATTACHED_MODES[opts.getUint8(24)];
  if (mode === undefined) return undefined;
  const ids = [8, 12, 16, 20].map((offset) => opts.getUint32(offset, true));
  return { programId: ids.find((id) => id !== 0) ?? 0, mode };
}

function attachIn(mode: XdpMode, request: XdpRequest): BpfLink {
  const result = createLink(linkRequest(mode, request), labelOf(request));
  if (typeof result === "number") throw attachError(request, result);
  return result;
}

function linkRequest(mode: XdpMode, { program, genericProgram, ifindex }: XdpRequest) {
  const chosen = mode === "generic" ? (genericProgram ?? program) : program;
  return { program: chosen, ifindex, attachType: ATTACH_TYPE.xdp, flags: XDP_FLAG[mode] };
}

function labelOf(request: XdpRequest): string {
  return `XDP link on ${request.interfaceName}`;
}

function attachError(request: XdpRequest, errno: number): PenstockError {
  const occupied = errno === ERRNO.EBUSY || errno === ERRNO.EEXIST;
  const state = occupied ? queryXdp(request.ifindex) : undefined;
  if (state !== undefined) return occupiedError(request, state);
  return kernelError({
    action: "attach",
    object: `${request.program.name} to ${request.interfaceName}`,
    call: "bpf_link_create",
    errno,
    remedy: CANNOT_NATIVE.includes(errno)
      ? "Attach in generic mode, or lower the interface's MTU"
      : undefined,
    data: { interface: request.interfaceName, ifindex: request.ifindex },
  });
}

function occupiedError(request: XdpRequest, state: XdpState): PenstockError {
  const name = nameOfProgram(state.programId);
  const { interfaceName } = request;
  return new PenstockError({
    code: "xdp-occupied",
    disposition: "stalled",
    message: `Cannot attach ${request.program.name} to ${interfaceName}: XDP program ${name} (id ${state.programId}, ${state.mode}) is there`,
    remedy: `Stop who attached it, or remove it: ip link set dev ${interfaceName} xdp off (a link: bpftool link show)`,
    data: { interface: interfaceName, programId: state.programId, programName: name, mode: state.mode },
  });
}

function nameOfProgram(id: number): string {
  try {
    const program = openProgramById(id);
    try {
      return program.name === "" ? "without a name" : program.name;
    } finally {
      program.close();
    }
  } catch {
    return "unknown";
  }
}
