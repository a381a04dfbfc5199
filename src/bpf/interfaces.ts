// Network interfaces of the network namespace that this thread is in. Never from sysfs: a mounted /sys shows the
// namespace of whoever mounted it.
import { readFileSync } from "node:fs";
import { libc } from "./libc.ts";

export interface NetworkInterface {
  readonly name: string;
  readonly index: number;
}

/** All interfaces, ordered by index. One that goes while they are read is left out. */
export function listInterfaces(): NetworkInterface[] {
  return parseDeviceNames(readFileSync("/proc/thread-self/net/dev", "utf8"))
    .map((name) => ({ name, index: libc().if_nametoindex(name) }))
    .filter(({ index }) => index !== 0)
    .sort((a, b) => a.index - b.index);
}

/** Index of the interface of this name; undefined if there is none. */
export function findInterface(name: string): NetworkInterface | undefined {
  const index = libc().if_nametoindex(name);
  return index === 0 ? undefined : { name, index };
}

/** Names in the text of /proc/net/dev: two header lines, then `  name: counters`; a name has no colon. */
export function parseDeviceNames(text: string): string[] {
  return text
    .split("\n")
    .slice(2)
    .map((line) => line.slice(0, Math.max(line.indexOf(":"), 0)).trim())
    .filter((name) => name !== "");
}
