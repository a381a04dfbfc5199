// A program may have a twin for generic mode (bpf/xdp_firewall.bpf.c says why): the same judgement, under the program's
// own name and an ending. Links are known by the program's name, whichever of the two they run.
import { queryXdp, type XdpMode } from "./link-xdp.ts";
import type { BpfProgram } from "./program.ts";

/** What a link of `name` runs in a mode; undefined if there is no such program. */
export function programFor(
  programs: ReadonlyMap<string, BpfProgram>,
  name: string,
  mode: XdpMode,
): BpfProgram | undefined {
  const twin = mode === "generic" ? programs.get(`${name}_generic`) : undefined;
  return twin ?? programs.get(name);
}

/** How the interface with this index runs its program. */
export function modeOf(index: number): XdpMode {
  return queryXdp(index)?.mode === "generic" ? "generic" : "native";
}
