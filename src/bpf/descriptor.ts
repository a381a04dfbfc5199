// Ownership of file descriptors. A descriptor that was closed is never handed to the kernel again: its number
// may by then belong to something else.
import { closeSync } from "node:fs";
import { bug } from "../base/index.ts";

export interface Descriptor {
  /** The number; throws `invariant-broken` once closed. */
  readonly fd: number;
  readonly closed: boolean;
  /** Closes the number if it is ours to close; later calls do nothing. */
  close(): void;
}

/**
 * A descriptor for `object` ("map flows"). With `owned` false somebody else closes the number, and `close` only
 * makes it unusable here.
 */
export function ownDescriptor(number: number, object: string, owned = true): Descriptor {
  let closed = false;
  return {
    get fd() {
      if (closed) throw bug(`Cannot use ${object}: it was closed`, { object });
      return number;
    },
    get closed() {
      return closed;
    },
    close() {
      if (closed) return;
      closed = true;
      if (owned) closeSync(number);
    },
  };
}
