// Programs on interfaces, each held there by a link that is pinned under the program's and the interface's name:
// what is attached survives the agent, and the next agent finds it by listing pins.
import type { Attachment } from "../compile/index.ts";
import { PROGRAM_TYPE } from "./constants.ts";
import { findLink, linkPinPath, listLinks, type PinnedLink, withLink } from "./in-force.ts";
import { listInterfaces } from "./interfaces.ts";
import type { BpfLink } from "./link.ts";
import { attachTcx } from "./link-tcx.ts";
import { attachXdp, type XdpMode } from "./link-xdp.ts";
import { type ModeSwitch, ModeSwitches } from "./mode-switches.ts";
import { unpin } from "./pins.ts";
import type { BpfProgram } from "./program.ts";
import { directionOf, placeOf, type TcChain, tcChain } from "./tc-chain.ts";
import { type HookMode, modeOf, programFor } from "./twins.ts";

export interface AttachedProgram {
  readonly program: string;
  readonly index: number;
  readonly interface: string | undefined;
  readonly mode: HookMode;
  /** False if the link runs something else than the program that this agent loaded. */
  readonly current: boolean;
}

export class Attachments {
  readonly #pinDirectory: string;
  readonly #programs: ReadonlyMap<string, BpfProgram>;
  readonly #switches: ModeSwitches;
  readonly #chain: TcChain;

  constructor(pinDirectory: string, programs: ReadonlyMap<string, BpfProgram>, chain = tcChain) {
    this.#pinDirectory = pinDirectory;
    this.#programs = programs;
    this.#chain = chain;
    this.#switches = new ModeSwitches(pinDirectory);
  }

  /** What is attached. Links that hold nothing any more, see `dropDead`, are not. */
  list(): AttachedProgram[] {
    const host = listInterfaces();
    const found: AttachedProgram[] = [];
    for (const link of listLinks(this.#pinDirectory)) {
      const { program, index, info } = link;
      if (info?.ifindex !== index) continue;
      const mode = modeOf(link, host);
      found.push({
        program,
        index,
        interface: host.find((known) => known.index === index)?.name,
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
   * back to what it was, or undefined if packets meet the same as before. A mode is one of XDP: at a TC hook there is
   * but one.
   */
  attach(attachment: Attachment): (() => void) | undefined {
    const program = programFor(this.#programs, attachment.program, "native");
    if (program === undefined) return undefined;
    const { index, mode } = attachment;
    const before = this.#find(attachment);
    if (before === undefined) {
      // A link that is not what its name says is in the way.
      this.detach(attachment.program, index);
      this.#make(program, attachment);
      return () => this.detach(attachment.program, index);
    }
    const was = modeOf(before, [{ name: attachment.interface, index }]);
    if (was === "tcx" || mode === "auto" || mode === was) {
      withLink(before.path, (link) => {
        link.update(programFor(this.#programs, attachment.program, was) ?? program);
      });
      return undefined;
    }
    return this.#changeMode(program, attachment, was);
  }

  /**
   * The kernel has native and generic mode at the same time on no interface, so a link in the wrong mode is taken away
   * first, and put back if the new mode cannot be had.
   */
  #changeMode(program: BpfProgram, attachment: Attachment, was: XdpMode): () => void {
    const before: ModeSwitch = { program: attachment.program, index: attachment.index, mode: was };
    const makeAsBefore = () => this.#make(program, { ...attachment, mode: was });
    this.#switch(before, program, () => {
      try {
        this.#make(program, attachment);
      } catch (cause) {
        makeAsBefore();
        throw cause;
      }
    });
    return () => this.#switch(before, program, makeAsBefore);
  }

  #make(program: BpfProgram, attachment: Attachment): void {
    const link =
      program.type === PROGRAM_TYPE.schedCls
        ? this.#linkTc(program, attachment)
        : this.#linkXdp(program, attachment);
    try {
      link.pin(linkPinPath(this.#pinDirectory, attachment.program, attachment.index));
    } finally {
      link.close();
    }
  }

  #linkXdp(
    program: BpfProgram,
    { program: name, index, interface: interfaceName, mode }: Attachment,
  ): BpfLink {
    const genericProgram = programFor(this.#programs, name, "generic");
    return attachXdp({ program, genericProgram, ifindex: index, interfaceName, mode }).link;
  }

  #linkTc(program: BpfProgram, { program: name, index, interface: interfaceName }: Attachment): BpfLink {
    const place = placeOf(this.#chain, name, (other) => this.#find({ program: other, index }));
    const direction = directionOf(this.#chain, name);
    return attachTcx({ program, ifindex: index, interfaceName, direction, place });
  }

  /** Takes a link away and makes another, so that being killed in between is noticed. */
  #switch(before: ModeSwitch, running: BpfProgram, make: () => void): void {
    this.#switches.begin(before, running);
    this.detach(before.program, before.index);
    let isThere = false;
    try {
      make();
      isThere = true;
    } finally {
      isThere ||= this.#find(before) !== undefined;
      if (isThere) this.#switches.end(before);
    }
  }

  /** Puts back programs that somebody took away who was killed before there was another link. Says which. */
  finishSwitches(): string[] {
    const said: string[] = [];
    for (const change of this.#switches.begun()) {
      const { program, index, mode } = change;
      const name = listInterfaces().find((known) => known.index === index)?.name;
      if (name !== undefined && this.#find(change) === undefined) {
        this.attach({ program, interface: name, index, mode });
        said.push(`${program}: back on ${name}, where changing its mode was interrupted`);
      }
      this.#switches.end(change);
    }
    return said;
  }

  /** Takes a program from an interface; nothing happens if it is not there. */
  detach(program: string, index: number): void {
    const path = linkPinPath(this.#pinDirectory, program, index);
    withLink(path, (link) => {
      if (link.info().ifindex !== 0) link.detach();
    });
    unpin(path);
  }

  #find({ program, index }: { readonly program: string; readonly index: number }): PinnedLink | undefined {
    return findLink(this.#pinDirectory, program, index);
  }
}
