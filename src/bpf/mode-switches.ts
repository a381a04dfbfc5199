// Changing the mode in which a program is on an interface. The kernel has no step for that: the link in the old mode
// has to go before the one in the new mode can come, and packets pass unjudged for the moment in between. Who is killed
// then leaves a pin behind which says so, and the next start puts the program back, whatever it does about drift.
import { join } from "node:path";
import type { XdpMode } from "./link-xdp.ts";
import { listPins, unpin } from "./pins.ts";
import type { BpfProgram } from "./program.ts";

/** A program that is away from its interface. */
export interface ModeSwitch {
  readonly program: string;
  readonly index: number;
  /** The mode that it was in. */
  readonly mode: XdpMode;
}

export class ModeSwitches {
  readonly #directory: string;

  constructor(pinDirectory: string) {
    this.#directory = join(pinDirectory, "switching");
  }

  /** Before the old link goes; `running` only gives the pin something to hold. */
  begin(change: ModeSwitch, running: BpfProgram): void {
    running.pin(this.#path(change));
  }

  /** When a link is there again. */
  end(change: ModeSwitch): void {
    unpin(this.#path(change));
  }

  /** Those that were begun and not ended. */
  begun(): ModeSwitch[] {
    return listPins(this.#directory).flatMap(({ name }) => {
      const [, program = "", index = "", mode] = /^(.*)-(\d+)-(native|generic)$/.exec(name) ?? [];
      return mode === "native" || mode === "generic" ? [{ program, index: Number(index), mode }] : [];
    });
  }

  #path({ program, index, mode }: ModeSwitch): string {
    return join(this.#directory, `${program}-${index}-${mode}`);
  }
}
