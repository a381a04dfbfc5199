// The rights that this process has (CapEff in /proc/self/status), against those that Penstock needs.
import { readFileSync } from "node:fs";

const CAP_SYS_ADMIN = 21n;
const NEEDED: Readonly<Record<string, bigint>> = { CAP_BPF: 39n, CAP_NET_ADMIN: 12n, CAP_PERFMON: 38n };

/** Names of the missing ones; CAP_SYS_ADMIN stands in for CAP_BPF and CAP_PERFMON. */
export function missingCapabilities(status = readFileSync("/proc/self/status", "utf8")): string[] {
  const hex = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0";
  const effective = BigInt(`0x${hex}`);
  const has = (bit: bigint) => ((effective >> bit) & 1n) === 1n;
  return Object.entries(NEEDED)
    .filter(([name, bit]) => !has(bit) && !(name !== "CAP_NET_ADMIN" && has(CAP_SYS_ADMIN)))
    .map(([name]) => name);
}
