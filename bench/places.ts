// Where benchmarks leave things while they run, so that somebody who interrupts one finds nothing of it.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const pinDirectory = `/sys/fs/bpf/penstock-bench-${process.pid}`;
export const namespace = `pk-${process.pid}-bench`;
/** Two levels below the root, as sources are. */
export const folder = fileURLToPath(new URL(`../build/bench-${process.pid}`, import.meta.url));

/** Removes what is there. */
export function removeAll(): void {
  rmSync(pinDirectory, { recursive: true, force: true });
  rmSync(folder, { recursive: true, force: true });
  spawnSync("ip", ["netns", "delete", namespace], { stdio: "ignore" });
}
