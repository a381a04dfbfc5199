// The record of which revision a generation carries: a versioned table like any other, so that it changes with the
// commit, and a restart finds it in the kernel.
import { appliedRevisionCodec, xdpFirewallMaps } from "../abi/index.ts";
import { tableSpec } from "./spec.ts";
import type { TableSpec } from "./table.ts";

/** One slot. */
export const appliedTable: TableSpec = tableSpec(xdpFirewallMaps.applied, {
  shape: "slots",
  presence: "present",
});

export interface Applied {
  /** 40 hex digits. */
  readonly commit: string;
  /** The commit that a rollback went away from and that must not be applied again, or undefined. */
  readonly held: string | undefined;
  /** Seconds since the epoch: the time that the policy was compiled for. */
  readonly timeS: number;
}

/** The payload of the one entry. */
export function encodeApplied(applied: Applied): Uint8Array {
  return appliedRevisionCodec.encode({
    commit: bytesOf(applied.commit),
    held: bytesOf(applied.held),
    timeS: BigInt(applied.timeS),
    present: 1,
  });
}

/** What the payload at `offset` says. */
export function decodeApplied(bytes: Uint8Array, offset: number): Applied {
  const { commit, held, timeS } = appliedRevisionCodec.decode(bytes, offset);
  return {
    commit: Buffer.from(commit).toString("hex"),
    held: held.every((byte) => byte === 0) ? undefined : Buffer.from(held).toString("hex"),
    timeS: Number(timeS),
  };
}

function bytesOf(commit: string | undefined): Uint8Array {
  const bytes = new Uint8Array(20);
  if (commit !== undefined) bytes.set(Buffer.from(commit, "hex").subarray(0, 20));
  return bytes;
}
