// Programs on interfaces, each held there by a link that is pinned under the program's and the interface's name:
// what is attached survives the agent, and the next agent finds it by listing pins.
import { join } from "node:path";
import type { Attachment } from "../compile/index.ts";
import { listInterfaces } from "./interfaces.ts";
import { type BpfLink, openPinnedLink } from "./link.ts";
import { attachXdp, queryXdp } from "./link-xdp.ts";
import { listPins, unpin } from "./pins.ts";
import type { BpfProgram } from "./program.ts";

export interface AttachedProgram {
  readonly program: string;
  readonly index: number;
  readonly interface: string | undefined;
  readonly mode: "native" | "generic";
  /** False if the link runs something else than the program that this agent loaded. */
  readonly current: boolean;
}

export class Attachments {
  readonly #directory: string;
  readonly #programs: ReadonlyMap<string, BpfProgram>;

  constructor(pinDirectory: string, programs: ReadonlyMap<string, BpfProgram>) {
    this.#directory = join(pinDirectory, "links");
    this.#programs = programs;
  }

  /** What is attached. Links whose interface is gone, or that somebody detached, hold nothing and are dropped. */
  list(): AttachedProgram[] {
    const names = new Map(listInterfaces().map(({ name, index }) => [index, name]));
    const found: AttachedProgram[] = [];
    for (const pin of listPins(this.#directory)) {
      const dash = pin.name.lastIndexOf("-");
      const program = pin.name.slice(0, dash);
      const info = withLink(pin.path, (link) => link.info());
      if (info === undefined || info.ifindex === undefined || info.ifindex === 0) {
        unpin(pin.path);
        continue;
      }
      const state = names.has(info.ifindex) ? queryXdp(info.ifindex) : undefined;
      found.push({
        program,
        index: info.ifindex,
        interface: names.get(info.ifindex),
        mode: state?.mode === "generic" ? "generic" : "native",
        current: info.programId === this.#programs.get(program)?.info().id,
      });
    }
    return found;
  }

  /**
   * Attaches, or puts this agent's program behind a link that is there already; true if a new link was made. A
   * link in the wrong mode is taken away first: for that moment packets pass the interface unjudged.
   */
  attach(attachment: Attachment): boolean {
    const program = this.#programs.get(attachment.program);
    if (program === undefined) return false;
    const before = this.list().find((a) => a.program === attachment.program && a.index === attachment.index);
    const path = this.#path(attachment.program, attachment.index);
    if (before !== undefined && (attachment.mode === "auto" || attachment.mode === before.mode)) {
      withLink(path, (link) => {
        link.update(program);
      });
      return false;
    }
    if (before !== undefined) this.detach(attachment.program, attachment.index);
    const { index, interface: interfaceName, mode } = attachment;
    const { link } = attachXdp({ program, ifindex: index, interfaceName, mode });
    try {
      link.pin(path);
    } finally {
      link.close();
    }
    return before === undefined;
  }

  /** Takes a program from an interface; nothing happens if it is not there. */
  detach(program: string, index: number): void {
    const path = this.#path(program, index);
    withLink(path, (link) => {
      if (link.info().ifindex !== 0) link.detach();
    });
    unpin(path);
  }

  #path(program: string, index: number): string {
    return join(this.#directory, `${program}-${index}`);
  }
}

function withLink<T>(path: string, use: (link: BpfLink) => T): T | undefined {
  const link = openPinnedLink(path);
  if (link === undefined) return undefined;
  try {
    return use(link);
  } finally {
    link.close();
  }
}
