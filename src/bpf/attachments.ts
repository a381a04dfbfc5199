// Programs on interfaces, each held there by a link that is pinned under the program's and the interface's name:
// what is attached survives the agent, and the next agent finds it by listing pins.
import { join } from "node:path";
import type { Attachment } from "../compile/index.ts";
import { listLinks, withLink } from "./in-force.ts";
import { listInterfaces } from "./interfaces.ts";
import { attachXdp } from "./link-xdp.ts";
import { ModeSwitches } from "./mode-switches.ts";
import { unpin } from "./pins.ts";
import type { BpfProgram } from "./program.ts";
import { modeOf, programFor } from "./twins.ts";

export interface AttachedProgram {
  readonly program: string;
  readonly index: number;
  readonly interface: string | undefined;
  readonly mode: "native" | "generic";
  /** False if the link runs something else than the program that this agent loaded. */
  readonly current: boolean;
}

export class Attachments {
  readonly #pinDirectory: string;
  readonly #programs: ReadonlyMap<string, BpfProgram>;
  readonly #switches: ModeSwitches;

  constructor(pinDirectory: string, programs: ReadonlyMap<string, BpfProgram>) {
    this.#pinDirectory = pinDirectory;
    this.#programs = programs;
    this.#switches = new ModeSwitches(pinDirectory);
  }

  /** What is attached. Links that hold nothing any more, see `dropDead`, are not. */
  list(): AttachedProgram[] {
    const names = new Map(listInterfaces().map(({ name, index }) => [index, name]));
    const found: AttachedProgram[] = [];
    for (const { program, index, info } of listLinks(this.#pinDirectory)) {
      if (info?.ifindex !== index) continue;
      const mode = names.has(index) ? modeOf(index) : "native";
      found.push({
        program,
        index,
        interface: names.get(index),
        mode,
        current: info.programId === programFor(this.#programs, program, mode)?.info().id,
      });
    }
    return found;
  }

  /**
   * Drops links whose interface is gone or that somebody detached, and links whose interface moved to another
   * network namespace and has another index there: policy of this namespace does not apply to it. Only for whoever
   * may change what is pinned: a reader would race with the agent that pins the same name anew.
   */
  dropDead(): void {
    for (const { path, index, info } of listLinks(this.#pinDirectory)) {
      if (info?.ifindex === index) continue;
      if (info?.ifindex !== undefined && info.ifindex !== 0) withLink(path, (link) => link.detach());
      unpin(path);
    }
  }

  /**
   * Attaches, or puts this agent's program behind a link that is there already. Returns what takes the interface
   * back to what it was, or undefined if packets meet the same as before. The kernel has native and generic mode at
   * the same time on no interface, so a link in the wrong mode is taken away first, and put back if the new mode
   * cannot be had.
   */
  attach(attachment: Attachment): (() => void) | undefined {
    const program = programFor(this.#programs, attachment.program, "native");
    const genericProgram = programFor(this.#programs, attachment.program, "generic");
    if (program === undefined) return undefined;
    this.dropDead();
    const { index, interface: interfaceName, mode } = attachment;
    const path = this.#path(attachment.program, index);
    const before = this.list().find((a) => a.program === attachment.program && a.index === index);
    if (before !== undefined && (mode === "auto" || mode === before.mode)) {
      withLink(path, (link) => {
        link.update(programFor(this.#programs, attachment.program, before.mode) ?? program);
      });
      return undefined;
    }
    const make = (wanted: Attachment["mode"]) => {
      const { link } = attachXdp({ program, genericProgram, ifindex: index, interfaceName, mode: wanted });
      try {
        link.pin(path);
      } finally {
        link.close();
      }
    };
    const takeBack = () => {
      if (before === undefined) this.detach(attachment.program, index);
      else this.#switch(before, program, () => make(before.mode));
    };
    if (before === undefined) make(mode);
    else {
      this.#switch(before, program, () => {
        try {
          make(mode);
        } catch (cause) {
          make(before.mode);
          throw cause;
        }
      });
    }
    return takeBack;
  }

  /** Takes a link away and makes another, so that being killed in between is noticed. */
  #switch(before: AttachedProgram, running: BpfProgram, make: () => void): void {
    this.#switches.begin(before, running);
    this.detach(before.program, before.index);
    let isThere = false;
    try {
      make();
      isThere = true;
    } finally {
      isThere ||= this.list().some(
        ({ program, index }) => program === before.program && index === before.index,
      );
      if (isThere) this.#switches.end(before);
    }
  }

  /** Puts back programs that somebody took away who was killed before there was another link. Says which. */
  finishSwitches(): string[] {
    const said: string[] = [];
    for (const change of this.#switches.begun()) {
      const { program, index, mode } = change;
      const name = listInterfaces().find((known) => known.index === index)?.name;
      const isThere = this.list().some((a) => a.program === program && a.index === index);
      if (name !== undefined && !isThere) {
        this.attach({ program, interface: name, index, mode });
        said.push(`${program}: back on ${name}, where changing its mode was interrupted`);
      }
      this.#switches.end(change);
    }
    return said;
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
    return join(this.#pinDirectory, "links", `${program}-${index}`);
  }
}
