// TC programs on an interface, whatever the kernel has. Before TCX links (link-tcx.ts) came, a
// program becomes a filter of the clsact queueing discipline: it belongs to the interface, not to a descriptor,
// so it stays without a pin until it is detached or the interface goes.
import { ERRNO } from "./errno.ts";
import { checkResult, kernelError } from "./kernel-error.ts";
import { libbpf } from "./libbpf.ts";
import type { AttachableProgram, BpfLink } from "./link.ts";
import { attachTcx, createTcx, type TcDirection } from "./link-tcx.ts";

export interface TcRequest {
  readonly program: AttachableProgram;
  readonly ifindex: number;
  /** For messages. */
  readonly interfaceName: string;
  readonly direction: TcDirection;
  /** `auto` takes TCX where the kernel has it. */
  readonly mode: "tcx" | "clsact" | "auto";
  /** clsact only: take the place of the filter that an earlier run left there. */
  readonly replace?: boolean;
}

export type TcAttachment =
  | { readonly kind: "tcx"; readonly link: BpfLink }
  | { readonly kind: "clsact"; readonly filter: TcFilter };

/** A filter of the clsact discipline, under a handle and priority of ours. */
export interface TcFilter {
  readonly ifindex: number;
  readonly interfaceName: string;
  readonly direction: TcDirection;
}

const ATTACH_POINT: Readonly<Record<TcDirection, number>> = { ingress: 1, egress: 2 };
const FLAG_REPLACE = 1;
// Our filter is known again after a restart by these two.
const HANDLE = 0x504b;
const PRIORITY = 1;

/**
 * Throws what `attachTcx` throws, and `kernel-call-failed`; EEXIST in clsact mode says that a filter is there already
 * (see `replace`).
 */
export function attachTc(request: TcRequest): TcAttachment {
  if (request.mode === "tcx") return { kind: "tcx", link: attachTcx(request) };
  if (request.mode === "auto") {
    const link = createTcx(request);
    if (typeof link !== "number") return { kind: "tcx", link };
    if (link !== ERRNO.EINVAL) throw attachError(request, "bpf_link_create", link);
  }
  const { ifindex, interfaceName, direction } = request;
  const filter: TcFilter = { ifindex, interfaceName, direction };
  createHook(request);
  attachFilter(filter, request.program, request.replace === true);
  return { kind: "clsact", filter };
}

/** Exchanges the program of a filter in place. */
export function updateTcFilter(filter: TcFilter, program: AttachableProgram): void {
  attachFilter(filter, program, true);
}

/** Id of the program in the filter; undefined if the filter is not there. */
export function queryTcFilter(filter: TcFilter): number | undefined {
  const opts = encodeFilter(0, 0);
  const call = "bpf_tc_query";
  const result = libbpf()[call](encodeHook(filter), opts);
  if (result === -ERRNO.ENOENT || result === -ERRNO.EINVAL) return undefined;
  checkResult(result, { action: "ask for", object: labelOf(filter), call });
  return new DataView(opts.buffer).getUint32(16, true);
}

/** Removes the filter; false if it was not there. The discipline stays: others may use it. */
export function detachTcFilter(filter: TcFilter): boolean {
  const call = "bpf_tc_detach";
  const result = libbpf()[call](encodeHook(filter), encodeFilter(0, 0));
  if (result === -ERRNO.ENOENT || result === -ERRNO.EINVAL) return false;
  checkResult(result, { action: "detach", object: labelOf(filter), call });
  return true;
}

function createHook(request: TcRequest): void {
  const call = "bpf_tc_hook_create";
  const result = libbpf()[call](encodeHook(request));
  if (result < 0 && result !== -ERRNO.EEXIST) throw attachError(request, call, -result);
}

function attachFilter(filter: TcFilter, program: AttachableProgram, replace: boolean): void {
  const call = "bpf_tc_attach";
  const result = libbpf()[call](encodeHook(filter), encodeFilter(program.fd, replace ? FLAG_REPLACE : 0));
  if (result < 0) throw attachError({ ...filter, program }, call, -result);
}

function attachError(
  request: TcFilter & { readonly program: AttachableProgram },
  call: string,
  errno: number,
): Error {
  const { interfaceName, direction, program } = request;
  return kernelError({
    action: "attach",
    object: `${program.name} to ${interfaceName} ${direction}`,
    call,
    errno,
    detail: errno === ERRNO.EEXIST ? "a filter of ours is there" : undefined,
    data: { interface: interfaceName, ifindex: request.ifindex, direction },
  });
}

function labelOf(filter: TcFilter): string {
  return `TC filter on ${filter.interfaceName} ${filter.direction}`;
}

// struct bpf_tc_hook: sz at 0, ifindex at 8, attach_point at 12, parent at 16.
function encodeHook({ ifindex, direction }: Pick<TcFilter, "ifindex" | "direction">): Uint8Array {
  const hook = new DataView(new ArrayBuffer(24));
  hook.setBigUint64(0, 24n, true);
  hook.setInt32(8, ifindex, true);
  hook.setUint32(12, ATTACH_POINT[direction], true);
  return new Uint8Array(hook.buffer);
}

// struct bpf_tc_opts: sz at 0, prog_fd at 8, flags at 12, prog_id at 16, handle at 20, priority at 24.
function encodeFilter(programFd: number, flags: number): Uint8Array {
  const opts = new DataView(new ArrayBuffer(32));
  opts.setBigUint64(0, 32n, true);
  opts.setInt32(8, programFd, true);
  opts.setUint32(12, flags, true);
  opts.setUint32(20, HANDLE, true);
  opts.setUint32(24, PRIORITY, true);
  return new Uint8Array(opts.buffer);
}
