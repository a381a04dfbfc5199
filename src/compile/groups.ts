// Interface groups: which interfaces of this host a name in policy means, and which groups a program's policy
// really uses. Bindings and attachments follow from the use, so a group that nothing names costs nothing.
import { compareText } from "../base/index.ts";

/** An interface of the host's network namespace. */
export interface HostInterface {
  readonly name: string;
  readonly index: number;
  /** Of the host, those that are online; absent where nobody knows. */
  readonly processors?: readonly Processor[];
}

export interface Processor {
  readonly number: number;
  /** Whether its memory is where the interface is: of all if the host has no such places. */
  readonly isNear: boolean;
}

export type AttachMode = "native" | "generic" | "auto";

/** A program that must be attached to an interface. */
export interface Attachment {
  readonly program: string;
  readonly interface: string;
  readonly index: number;
  readonly mode: AttachMode;
}

/** By whom connections on an interface are tracked. */
export interface Tracking {
  readonly interface: HostInterface;
  /** The slot of the settings. */
  readonly slot: number;
  /** The document's name. */
  readonly by: string;
}

/** What applies to packets on one interface. */
export interface InterfaceBinding {
  readonly interface: HostInterface;
  readonly groups: readonly string[];
  /** The slot of the settings by which connections are tracked; 0 if they are not. */
  readonly conntrack: number;
  /** The slot of the processors among which its packets are spread; 0 for none. */
  readonly steering: number;
}

interface Group {
  readonly name: string;
  readonly patterns: readonly string[];
  readonly members: readonly HostInterface[];
  readonly mode: AttachMode;
}

/** What a group is called that stands for one interface named directly in a document. */
export function interfaceGroupName(interfaceName: string): string {
  return `interface/${interfaceName}`;
}

/** True if `name` fits `pattern`, in which `*` stands for any characters. Linear in both, for hostile patterns. */
export function matchesPattern(pattern: string, name: string): boolean {
  let p = 0;
  let star = -1;
  let retry = 0;
  for (let n = 0; n < name.length; ) {
    if (p < pattern.length && pattern[p] !== "*" && pattern[p] === name[n]) {
      p++;
      n++;
    } else if (pattern[p] === "*") {
      star = p++;
      retry = n;
    } else if (star >= 0) {
      p = star + 1;
      n = ++retry;
    } else {
      return false;
    }
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}

/** Groups by name, filled by the InterfaceGroup kind, used by the kinds whose documents name interfaces. */
export class InterfaceGroups {
  readonly #host: readonly HostInterface[];
  readonly #groups = new Map<string, Group>();
  readonly #uses = new Map<string, Set<string>>();
  readonly #tracked = new Map<number, Tracking>();
  readonly #steered = new Map<number, { readonly slot: number; readonly by: string }>();
  readonly #trackedPatterns: string[] = [];

  constructor(host: readonly HostInterface[]) {
    this.#host = host;
  }

  /** False where policy is checked without a host. */
  get knowsHost(): boolean {
    return this.#host.length > 0;
  }

  /** The host's interface of this name. */
  interfaceNamed(name: string): HostInterface | undefined {
    return this.#host.find((i) => i.name === name);
  }

  define(name: string, patterns: readonly string[], mode: AttachMode): void {
    const members = this.#host.filter((i) => patterns.some((pattern) => matchesPattern(pattern, i.name)));
    this.#groups.set(name, { name, patterns, members, mode });
  }

  /**
   * Notes that programs are needed on the group, or the interface, that a document calls `name`; returns the group's
   * full name and how many interfaces of this host are in it. XDP and TC programs are named alike. Without any the
   * group is only known: alone it binds nothing.
   */
  use(
    name: string,
    ...programs: readonly string[]
  ): { readonly group: string; readonly members: readonly HostInterface[] } {
    const full = this.#groups.has(name) ? name : interfaceGroupName(name);
    const group = this.#groups.get(full) ?? {
      name: full,
      patterns: [name],
      members: this.#host.filter((i) => i.name === name),
      mode: "auto" as const,
    };
    this.#groups.set(full, group);
    this.#uses.set(full, new Set([...(this.#uses.get(full) ?? []), ...programs]));
    return { group: full, members: group.members };
  }

  /**
   * Notes that connections on the interfaces of a group are tracked by the settings in a slot. Returns by whom one of
   * them is tracked already, if it is.
   */
  track(name: string, { slot, by }: Omit<Tracking, "interface">): Tracking | undefined {
    const { group, members } = this.use(name);
    this.#trackedPatterns.push(...(this.#groups.get(group)?.patterns ?? []));
    for (const member of members) {
      const other = this.#tracked.get(member.index);
      if (other !== undefined && other.by !== by) return other;
      this.#tracked.set(member.index, { interface: member, slot, by });
    }
    return undefined;
  }

  /** Who tracks connections on the interface; undefined if nobody does. */
  trackerOf(index: number): Tracking | undefined {
    return this.#tracked.get(index);
  }

  /**
   * Whether connections are tracked on whatever interfaces a host has of the group or the interface, as far as patterns
   * tell: one that holds another's text holds all that the other stands for.
   */
  isTrackedByName(name: string): boolean {
    const patterns = this.#groups.get(this.use(name).group)?.patterns ?? [];
    return patterns.every((pattern) =>
      this.#trackedPatterns.some((tracked) => matchesPattern(tracked, pattern)),
    );
  }

  /** Notes that an interface's packets are spread. Returns the document that says so already, if it is another one. */
  steer(index: number, steering: { readonly slot: number; readonly by: string }): string | undefined {
    const other = this.#steered.get(index);
    if (other !== undefined && other.by !== steering.by) return other.by;
    this.#steered.set(index, steering);
    return undefined;
  }

  /** For each interface that needs a program or is tracked: what applies there, by all groups that hold it. */
  bindings(): InterfaceBinding[] {
    const found = new Map<
      number,
      { interface: HostInterface; groups: string[]; conntrack: number; steering: number; needed: boolean }
    >();
    for (const [name, programs] of [...this.#uses].sort(([a], [b]) => compareText(a, b))) {
      for (const member of this.#groups.get(name)?.members ?? []) {
        const conntrack = this.#tracked.get(member.index)?.slot ?? 0;
        const binding = found.get(member.index) ?? {
          interface: member,
          groups: [],
          conntrack,
          steering: this.#steered.get(member.index)?.slot ?? 0,
          needed: conntrack !== 0,
        };
        binding.groups.push(name);
        binding.needed ||= programs.size > 0;
        found.set(member.index, binding);
      }
    }
    return [...found.values()]
      .filter(({ needed }) => needed)
      .sort((a, b) => a.interface.index - b.interface.index);
  }

  /** Programs on interfaces; where groups differ in mode, a definite one wins over auto (kinds refuse conflicts). */
  attachments(): Attachment[] {
    const found = new Map<string, Attachment>();
    for (const [name, programs] of this.#uses) {
      const group = this.#groups.get(name);
      for (const member of group?.members ?? []) {
        for (const program of programs) {
          const key = `${program} ${member.name}`;
          const mode = group?.mode ?? "auto";
          const before = found.get(key);
          if (before !== undefined && (mode === "auto" || before.mode !== "auto")) continue;
          found.set(key, { program, interface: member.name, index: member.index, mode });
        }
      }
    }
    return [...found.values()].sort((a, b) => a.index - b.index || (a.program < b.program ? -1 : 1));
  }

  /** Two groups of one interface that ask for different definite modes: [interface, group, group]. */
  modeConflicts(): (readonly [string, string, string])[] {
    const conflicts: (readonly [string, string, string])[] = [];
    const seen = new Map<string, Group>();
    for (const group of [...this.#groups.values()].filter((g) => g.mode !== "auto")) {
      for (const member of group.members) {
        const before = seen.get(member.name);
        if (before === undefined) seen.set(member.name, group);
        else if (before.mode !== group.mode) conflicts.push([member.name, before.name, group.name]);
      }
    }
    return conflicts;
  }
}
