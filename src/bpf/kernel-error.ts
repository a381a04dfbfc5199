// One shape for every failing call into the kernel, libbpf or libc: which call, on which object, errno by name.
import { type Disposition, type ErrorFields, PenstockError } from "../base/index.ts";
import { ERRNO, errnoName } from "./errno.ts";

export interface KernelFailure {
  /** What was tried, as it reads after "Cannot": `update`, `create`, `attach`. */
  readonly action: string;
  /** What it was tried on, as it reads after the action: `map address_set_v4`. */
  readonly object: string;
  /** The function or system call that failed. */
  readonly call: string;
  /** Positive error number. */
  readonly errno: number;
  /** What the number means here: `table is full at 1000 entries`. */
  readonly detail?: string | undefined;
  readonly remedy?: string | undefined;
  /** More facts beside call, object and errno. */
  readonly data?: ErrorFields["data"];
}

const TRANSIENT: readonly number[] = [ERRNO.EAGAIN, ERRNO.EBUSY, ERRNO.EINTR, ERRNO.ENOMEM];

/** Code `kernel-call-failed`; transient for EAGAIN, EBUSY, EINTR and ENOMEM, else stalled. */
export function kernelError(failure: KernelFailure): PenstockError {
  const { action, object, call, errno, detail } = failure;
  const remedy = failure.remedy ?? remedyOf(errno);
  return new PenstockError({
    code: "kernel-call-failed",
    disposition: dispositionOf(errno),
    message: `Cannot ${action} ${object}: ${describeErrno(errno)}${detail === undefined ? "" : `, ${detail}`}`,
    data: { ...failure.data, call, object, errno: errnoName(errno) },
    ...(remedy === undefined ? {} : { remedy }),
  });
}

/** Throws kernelError if a libbpf call returned `-errno`; gives the result back otherwise. */
export function checkResult(result: number, failure: Omit<KernelFailure, "errno">): number {
  if (result < 0) throw kernelError({ ...failure, errno: -result });
  return result;
}

/** True if `thrown` is a failed kernel call with this error name (`ENOENT`). */
export function isKernelError(thrown: unknown, name: string): thrown is PenstockError {
  return (
    thrown instanceof PenstockError && thrown.code === "kernel-call-failed" && thrown.data["errno"] === name
  );
}

/** `E2BIG (7)`. */
export function describeErrno(errno: number): string {
  return `${errnoName(errno)} (${errno})`;
}

function dispositionOf(errno: number): Disposition {
  return TRANSIENT.includes(errno) ? "transient" : "stalled";
}

function remedyOf(errno: number): string | undefined {
  if (errno === ERRNO.EPERM) return "Run as root, or grant CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";
  if (errno === ERRNO.ENOMEM) return "Free memory, or raise the memory limit of the service's control group";
  return undefined;
}
