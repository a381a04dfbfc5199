// Network interfaces of the network namespace that this thread is in. Never from sysfs: a mounted /sys shows the
// namespace of whoever mounted it. So what only sysfs knows of an interface is believed where its index is the same.
import { readFileSync } from "node:fs";
import { libc } from "./libc.ts";

export interface NetworkInterface {
  readonly name: string;
  readonly index: number;
}

/** Processors that are online, as one interface has them. */
export interface NetworkProcessor {
  readonly number: number;
  /** On the interface's node of memory; true for all where there are no nodes, or nobody knows. */
  readonly isNear: boolean;
}

/** The interfaces with the processors of the host. */
export function listInterfacesAndProcessors(): (NetworkInterface & {
  readonly processors: readonly NetworkProcessor[];
})[] {
  const online = parseNumberList(read("/sys/devices/system/cpu/online"));
  return listInterfaces().map((each) => {
    const near = processorsNear(each);
    const isNear = (number: number) => near.length === 0 || near.includes(number);
    return { ...each, processors: online.map((number) => ({ number, isNear: isNear(number) })) };
  });
}

/** Capacity by name of maps that have a place for each processor that this host could have. */
export function processorCapacities(): Readonly<Record<string, number>> {
  const last = parseNumberList(read("/sys/devices/system/cpu/possible")).at(-1) ?? 0;
  return { fw_cpus: last + 1 };
}

/** The processors of the interface's node of memory; none if that is not known. */
function processorsNear({ name, index }: NetworkInterface): readonly number[] {
  const folder = `/sys/class/net/${name}`;
  if (Number(read(`${folder}/ifindex`)) !== index) return [];
  const node = read(`${folder}/device/numa_node`).trim();
  return /^\d+$/.test(node) ? parseNumberList(read(`/sys/devices/system/node/node${node}/cpulist`)) : [];
}

/** What a file says; empty if there is none: sysfs need not be there, nor know of everything. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** `0-3,8` in numbers. */
export function parseNumberList(text: string): number[] {
  return text
    .trim()
    .split(",")
    .filter((range) => range !== "")
    .flatMap((range) => {
      const [first = 0, last = first] = range.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
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
