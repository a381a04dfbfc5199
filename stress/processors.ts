// Which processor a process runs on. Readers and the writer of a race must not share one.
import { spawnSync } from "node:child_process";

/** The processors that this process may run on, in order. */
export function allowedProcessors(): number[] {
  const list = taskset("-c", "-p", String(process.pid)).split(":").at(-1)?.trim() ?? "";
  return list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

/** Binds this process with all its threads. */
export function bindTo(processors: readonly number[]): void {
  taskset("-a", "-c", "-p", processors.join(","), String(process.pid));
}

function taskset(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync("taskset", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`taskset ${args.join(" ")}: ${stderr}`);
  return stdout;
}
