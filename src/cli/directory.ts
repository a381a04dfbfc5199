// The kernel's directory of ids, read without the rest: what numbers in events and counters are called.
import type { KernelDatapath, MapSource } from "../bpf/index.ts";
import { directoryTable } from "../compile/index.ts";
import { knownIds, type ObservedState } from "../reconcile/index.ts";

export { knownIds };

/** The directory as the current generation shows it. */
export async function observeDirectory(datapath: KernelDatapath<MapSource>): Promise<ObservedState> {
  const generation = datapath.generation().current;
  const table = await datapath.read(directoryTable);
  return { generation, tables: new Map([[directoryTable.name, table]]), attached: [] };
}

/** How many generations' names are kept: events may come from one that has just passed. */
const generationsKept = 4;

/** Rule names by generation, read anew when the generation moves. */
export class RuleNames {
  readonly #datapath: KernelDatapath<MapSource>;
  /** Newest last; events carry only the lowest 16 bits of a generation. */
  readonly #known = new Map<number, ReadonlyMap<number, string>>();

  constructor(datapath: KernelDatapath<MapSource>) {
    this.#datapath = datapath;
  }

  /** Makes sure that the current generation's names are known. */
  async refresh(): Promise<void> {
    const generation = shorten(this.#datapath.generation().current);
    if (this.#known.has(generation)) return;
    const observed = await observeDirectory(this.#datapath);
    const names = new Map(
      knownIds(observed)
        .filter(({ space }) => space === "rule")
        .map(({ id, name }) => [id, name]),
    );
    this.#known.set(shorten(observed.generation), names);
    for (const old of [...this.#known.keys()].slice(0, -generationsKept)) this.#known.delete(old);
  }

  /** The name in that generation, or the newest that the id is known to have had. */
  nameOf(ruleId: number, generation: number): string | undefined {
    const exact = this.#known.get(generation);
    if (exact !== undefined) return exact.get(ruleId);
    return [...this.#known.values()]
      .reverse()
      .find((names) => names.has(ruleId))
      ?.get(ruleId);
  }
}

function shorten(generation: bigint): number {
  return Number(generation & 0xffffn);
}
