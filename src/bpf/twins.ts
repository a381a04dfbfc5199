// A program may have a twin for generic mode (bpf/xdp_firewall.bpf.c says why): the same judgement, under the program's
// own name and an ending. Links are known by the program's name, whichever of the two they run.
import type { PinnedLink } from "./in-force.ts";
import { listInterfaces } from "./interfaces.ts";
import { queryXdp, type XdpMode } from "./link-xdp.ts";
import type { BpfProgram } from "./program.ts";

/** How a link holds its program: at the XDP hook in one of its modes, or at a TC hook. */
export type HookMode = XdpMode | "tcx";

/** What a link of `name` runs in a mode; undefined if there is no such program. */
export function programFor(
  programs: ReadonlyMap<string, BpfProgram>,
  name: string,
  mode: HookMode,
): BpfProgram | undefined {
  const twin = mode === "generic" ? programs.get(`${name}_generic`) : undefined;
  return twin ?? programs.get(name);
}

/** How a link runs its program. An interface of another namespace cannot be asked; what is there is not ours to change. */
export function modeOf({ index, info }: PinnedLink, host = listInterfaces()): HookMode {
  if (info?.type === "tcx") return "tcx";
  const isHere = host.some((known) => known.index === index);
  return isHere && queryXdp(index)?.mode === "generic" ? "generic" : "native";
}
