// An agent process as its parent sees it: given orders, answered by it, or found dead.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";
import type { Answer, Order } from "./crash-agent.ts";

/** Longer than any order takes; an agent that hangs is a finding. */
const patienceMs = 60_000;

/**
 * Compiles the agent process into one file of `folder`: it is started hundreds of times. The folder has to lie two
 * levels below the repository's root, as the sources do, which look for what belongs to them from where they are.
 */
export function compileAgent(folder: string): string {
  const outfile = join(folder, "crash-agent.mjs");
  const source = fileURLToPath(new URL("./crash-agent.ts", import.meta.url));
  buildSync({
    entryPoints: [source],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    packages: "external",
    logLevel: "error",
  });
  return outfile;
}

export class AgentProcess {
  readonly #process: ChildProcess;
  readonly #ready: Promise<unknown>;

  /** Starts a process that has all its code loaded when it is first needed, and holds nothing until then. */
  constructor(program: string, namespacePath: string) {
    const args = [`--net=${namespacePath}`, "--", process.execPath, program];
    // Out of our process group: who interrupts us in a terminal does not interrupt it.
    this.#process = spawn("nsenter", args, {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      detached: true,
    });
    this.#ready = once(this.#process, "message");
    // Whether it came up is found out with the first order.
    this.#ready.catch(() => undefined);
  }

  /** Its answer; undefined if it killed itself. Throws if it ended or hung in any other way. */
  async give(order: Order): Promise<Answer | undefined> {
    await this.#ready;
    const process = this.#process;
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        process.off("exit", onExit).off("message", onMessage);
        settle();
      };
      const onMessage = (message: unknown) => finish(() => resolve(message as Answer));
      const onExit = (code: number | null, killedBy: string | null) =>
        finish(() =>
          killedBy === "SIGKILL"
            ? resolve(undefined)
            : reject(new Error(`The agent ended with ${killedBy ?? code}`)),
        );
      const timer = setTimeout(() => {
        process.kill("SIGKILL");
        finish(() => reject(new Error(`The agent did not answer to ${order.work}`)));
      }, patienceMs);
      process.on("exit", onExit).on("message", onMessage);
      process.send(order);
    });
  }

  /** Kills it where it stands. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await gone;
  }
}
