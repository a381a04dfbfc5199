// TC programs on an interface through TCX links (kernel 6.6): held and updated like any link. Several have their place
// on a hook, in an order that whoever attaches chooses.
import { arch } from "node:process";
import { PenstockError } from "../base/index.ts";
import { ATTACH_TYPE } from "./constants.ts";
import { ownDescriptor } from "./descriptor.ts";
import { ERRNO } from "./errno.ts";
import { kernelError } from "./kernel-error.ts";
import { addressOf, lastErrno, libc } from "./libc.ts";
import { type AttachableProgram, BpfLink, createLink } from "./link.ts";

export type TcDirection = "ingress" | "egress";

/** Right in front of a TCX link that is on the hook, or right behind it. */
export interface TcxPlace {
  /** Id of the link. */
  readonly beside: number;
  readonly side: "before" | "after";
}

export interface TcxRequest {
  readonly program: AttachableProgram;
  readonly ifindex: number;
  /** For messages. */
  readonly interfaceName: string;
  readonly direction: TcDirection;
  /** Behind all others by default. */
  readonly place?: TcxPlace | undefined;
}

/** The attach type of each hook. */
export const tcxTypes: Readonly<Record<TcDirection, number>> = {
  ingress: ATTACH_TYPE.tcxIngress,
  egress: ATTACH_TYPE.tcxEgress,
};

// Of bpf(); all newer architectures have one number.
const SYSCALL_BPF: Readonly<Partial<Record<string, number>>> = { x64: 321 };
const SYSCALL_GENERIC = 280;
const LINK_CREATE = 28;
const PLACE_FLAG: Readonly<Record<TcxPlace["side"], number>> = { before: 1 << 3, after: 1 << 4 };
const FLAG_ID = 1 << 5;
const FLAG_LINK = 1 << 13;

/** Throws `tcx-missing` where the kernel has no such links, else `kernel-call-failed`. */
export function attachTcx(request: TcxRequest): BpfLink {
  const link = createTcx(request);
  if (typeof link !== "number") return link;
  const { program, ifindex, interfaceName, direction } = request;
  const object = `${program.name} to ${interfaceName} ${direction}`;
  if (link === ERRNO.EINVAL) {
    throw new PenstockError({
      code: "tcx-missing",
      disposition: "stalled",
      message: `Cannot attach ${object}: this kernel has no TCX links`,
      remedy: "Boot Linux 6.6 or later, or take out the policy that needs the program",
    });
  }
  throw kernelError({
    action: "attach",
    object,
    call: "bpf_link_create",
    errno: link,
    data: { interface: interfaceName, ifindex, direction },
  });
}

/** The link, or the positive error number: EINVAL where the kernel has none. */
export function createTcx({
  program,
  ifindex,
  interfaceName,
  direction,
  place,
}: TcxRequest): BpfLink | number {
  const label = `TCX link on ${interfaceName} ${direction}`;
  const attachType = tcxTypes[direction];
  if (place === undefined) return createLink({ program, ifindex, attachType }, label);
  // union bpf_attr: prog_fd at 0, target_ifindex at 4, attach_type at 8, flags at 12, tcx.relative_id at 16. libbpf
  // before 1.3 cannot say where a link shall stand, so this is the system call itself.
  const attributes = new DataView(new ArrayBuffer(32));
  attributes.setUint32(0, program.fd, true);
  attributes.setUint32(4, ifindex, true);
  attributes.setUint32(8, attachType, true);
  attributes.setUint32(12, PLACE_FLAG[place.side] | FLAG_ID | FLAG_LINK, true);
  attributes.setUint32(16, place.beside, true);
  const bytes = new Uint8Array(attributes.buffer);
  const number = SYSCALL_BPF[arch] ?? SYSCALL_GENERIC;
  const descriptor = libc().syscall(number, LINK_CREATE, addressOf(bytes), bytes.length);
  return descriptor < 0 ? lastErrno() : new BpfLink(ownDescriptor(descriptor, label), label);
}
