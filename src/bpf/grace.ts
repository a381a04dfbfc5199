// Waiting until no running program can still hold what it read before the call: an RCU grace period. XDP, TC
// and other non-sleepable programs run inside an RCU read-side section, so after it every one of them has ended.

import { arch } from "node:process";
import { abortedError } from "../base/index.ts";
import { MAP_TYPE } from "./constants.ts";
import { checkResult } from "./kernel-error.ts";
import { libbpf } from "./libbpf.ts";
import { callAsync, libc } from "./libc.ts";
import { createMap } from "./map.ts";

export type GraceMethod = "membarrier" | "map-in-map";

export interface GraceOptions {
  /** Default: membarrier where it is a full wait, else map-in-map. */
  readonly method?: GraceMethod;
  /** Stops the waiting here with an error of code `aborted`; the kernel goes on by itself. */
  readonly signal?: AbortSignal;
}

const MEMBARRIER: Readonly<Partial<Record<string, number>>> = { x64: 324, arm64: 283, riscv64: 283 };
const CMD_QUERY = 0;
const CMD_GLOBAL = 1;

/** Waits for one grace period, typically 5 to 30 ms, without blocking the event loop. Returns how. */
export async function waitForGracePeriod(options: GraceOptions = {}): Promise<GraceMethod> {
  const { signal } = options;
  const action = "wait for a grace period";
  if (signal?.aborted === true) throw abortedError(action, signal.reason, 0);
  const waiting = waitBy(options.method ?? chooseMethod());
  if (signal === undefined) return waiting;
  let onAbort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(abortedError(action, signal.reason, 0));
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([waiting, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
    waiting.catch(() => {});
  }
}

/** True if membarrier(MEMBARRIER_CMD_GLOBAL) is there: not with nohz_full CPUs, nor where it is filtered out. */
export function hasMembarrier(): boolean {
  const number = MEMBARRIER[arch];
  if (number === undefined) return false;
  const commands = libc().syscall(number, CMD_QUERY, 0, 0);
  return commands > 0 && (commands & CMD_GLOBAL) !== 0;
}

// membarrier does not wait at all on a single CPU, which is not enough where programs can be preempted; the
// update of a map in a map waits on every kernel.
function chooseMethod(): GraceMethod {
  return onlineCpus() > 1 && hasMembarrier() ? "membarrier" : "map-in-map";
}

async function waitBy(method: GraceMethod): Promise<GraceMethod> {
  if (method === "membarrier" && (await waitByMembarrier())) return "membarrier";
  await waitByMapInMap();
  return "map-in-map";
}

async function waitByMembarrier(): Promise<boolean> {
  const number = MEMBARRIER[arch];
  if (number === undefined) return false;
  return (await callAsync(libc().syscall, number, CMD_GLOBAL, 0, 0)) === 0;
}

// "Wait for any running BPF programs to complete so that userspace, when we return to it, knows that all programs
// that could be running use the new map value" is what the kernel promises for an update of a map of maps.
async function waitByMapInMap(): Promise<void> {
  const layout = { type: MAP_TYPE.array, keySize: 4, valueSize: 4, entriesMax: 1 };
  const inner = createMap({ ...layout, name: "grace_inner" });
  try {
    const outer = createMap({ ...layout, name: "grace_outer", type: MAP_TYPE.arrayOfMaps, inner });
    try {
      const key = new Uint8Array(4);
      const value = new Uint8Array(new Uint32Array([inner.fd]).buffer);
      const call = "bpf_map_update_elem";
      const result = await callAsync(libbpf()[call], outer.fd, key, value, 0);
      checkResult(result, { action: "wait for a grace period with", object: "map grace_outer", call });
    } finally {
      outer.close();
    }
  } finally {
    inner.close();
  }
}

const SC_NPROCESSORS_ONLN = 84;

function onlineCpus(): number {
  return libc().sysconf(SC_NPROCESSORS_ONLN);
}
