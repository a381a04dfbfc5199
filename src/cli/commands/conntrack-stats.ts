// conntrack stats: how full the table of connections is, and what became of connections since it was made.
import { ctStatNames } from "../../abi/index.ts";
import { defineCommand } from "../command.ts";
import { type PinnedDatapath, requireInstalledDatapath } from "../compose-datapath.ts";
import { exitCode } from "../exit-codes.ts";
import { alignColumns, type Style } from "../style.ts";
import { formatCount } from "../text.ts";
import { findConnections } from "../views/connections.ts";

interface StatsView {
  readonly connections: number;
  readonly capacity: number;
  /** Connections by state. */
  readonly states: Readonly<Record<string, number>>;
  /** What the datapath counted since the table was made. */
  readonly counts: Readonly<Record<string, number>>;
}

export const conntrackStatsCommand = defineCommand({
  name: "conntrack stats",
  summary: "Show how full the table of connections is",
  description:
    "Show how many connections there are of how many that fit, by state, and what became of connections and packets",
  flags: "places",
  examples: [["penstock conntrack stats -o json", "for machines"]],
  exits: {},
  async run(context) {
    const datapath = requireInstalledDatapath(context.settings());
    try {
      context.output.result(await readStats(datapath), renderStats);
      return exitCode.done;
    } finally {
      datapath.close();
    }
  },
});

async function readStats(datapath: PinnedDatapath): Promise<StatsView> {
  const found = await findConnections(datapath, () => true);
  const states: Record<string, number> = {};
  for (const { state } of found) states[state] = (states[state] ?? 0) + 1;
  const map = datapath.object.map("ct_stats");
  const { count, keys, values } = await map.readAll();
  const index = new DataView(keys.buffer, keys.byteOffset);
  const view = new DataView(values.buffer, values.byteOffset);
  const counts: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    let sum = 0n;
    for (let cpu = 0; cpu < map.cpuCount; cpu++)
      sum += view.getBigUint64(i * map.valueBytes + cpu * map.valueStride, true);
    const stat = index.getUint32(i * map.keyBytes, true);
    counts[ctStatNames[stat] ?? `count ${stat}`] = Number(sum);
  }
  const capacity = datapath.object.map("connections").entriesMax;
  return { connections: found.length, capacity, states, counts };
}

function renderStats({ connections, capacity, states, counts }: StatsView, style: Style): string[] {
  const rows = (entries: Readonly<Record<string, number>>) =>
    Object.entries(entries).map(([name, count]) => [name, formatCount(count)]);
  const head = (title: string) => [
    { text: title, paint: style.dim },
    { text: "connections", paint: style.dim },
  ];
  const counted = Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
  return [
    `${formatCount(connections)} of ${formatCount(capacity)} connections`,
    ...(connections === 0 ? [] : ["", ...alignColumns([head("State"), ...rows(states)], { right: [1] })]),
    ...(Object.keys(counted).length === 0
      ? []
      : [
          "",
          ...alignColumns([[{ text: "Since the table was made", paint: style.dim }, ""], ...rows(counted)], {
            right: [1],
          }),
        ]),
  ];
}
