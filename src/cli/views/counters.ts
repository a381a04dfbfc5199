// Hit counters: by rule and by reason, and how many events were kept back.
import { eventBudgetLayout, fwReasonNames, offsetOf } from "../../abi/index.ts";
import type { KernelDatapath, MapSource } from "../../bpf/index.ts";
import { knownIds, observeDirectory } from "../directory.ts";
import { alignColumns, type Style } from "../style.ts";
import { formatCount, plain } from "../text.ts";

export interface CountView {
  readonly name: string;
  readonly packets: number;
  readonly bytes: number;
}

export interface CountersView {
  /** Every rule in force, those with most packets first. */
  readonly rules: readonly CountView[];
  /** Every reason that a packet met; each packet is counted under exactly one. */
  readonly reasons: readonly CountView[];
  /** Events kept back by the bound, and lost because nobody read them. */
  readonly events: { readonly suppressed: number; readonly lost: number };
}

/** Reads the counters of a datapath that may be in use. */
export async function readCounters(datapath: KernelDatapath<MapSource>): Promise<CountersView> {
  const rules = await datapath.readCounters("rule_counters");
  const reasons = await datapath.readCounters("fw_reasons");
  const names = knownIds(await observeDirectory(datapath)).filter(({ space }) => space === "rule");
  return {
    rules: names
      .map(({ id, name }) => countOf(name, rules[id]))
      .sort((a, b) => b.packets - a.packets || (a.name < b.name ? -1 : 1)),
    reasons: reasons
      .map((count, reason) => countOf(fwReasonNames[reason] ?? `reason ${reason}`, count))
      .filter(({ packets }) => packets > 0),
    events: await readBudgets(datapath),
  };
}

function countOf(
  name: string,
  count: { readonly packets: bigint; readonly bytes: bigint } | undefined,
): CountView {
  return { name, packets: Number(count?.packets ?? 0n), bytes: Number(count?.bytes ?? 0n) };
}

async function readBudgets(datapath: KernelDatapath<MapSource>): Promise<CountersView["events"]> {
  const map = datapath.object.map("event_budgets");
  const { values } = await map.readAll();
  const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
  const sum = (field: "suppressed" | "lost") => {
    let total = 0n;
    for (let cpu = 0; cpu < map.cpuCount; cpu++) {
      total += view.getBigUint64(cpu * map.valueStride + offsetOf(eventBudgetLayout, field), true);
    }
    return Number(total);
  };
  return { suppressed: sum("suppressed"), lost: sum("lost") };
}

export function renderCounters(view: CountersView, style: Style): string[] {
  const { suppressed, lost } = view.events;
  const events =
    suppressed + lost === 0
      ? []
      : [
          "",
          `Events not reported: ${formatCount(suppressed)} kept back by the bound, ${formatCount(lost)} lost`,
        ];
  return [
    ...tableOf("Rule", view.rules, style),
    ...(view.rules.length > 0 ? [""] : []),
    ...tableOf("Reason", view.reasons, style),
    ...events,
  ];
}

function tableOf(title: string, counts: readonly CountView[], style: Style): string[] {
  if (counts.length === 0) return [];
  const head = [title, "packets", "bytes"].map((text) => ({ text, paint: style.dim }));
  const rows = counts.map(({ name, packets, bytes }) => [
    plain(name),
    formatCount(packets),
    formatCount(bytes),
  ]);
  return alignColumns([head, ...rows], { right: [1, 2] });
}
