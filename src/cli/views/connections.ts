// The table of connections in words: who opened each, what state it is in, what passed each way.
import {
  type Connection,
  CtFlag,
  type CtKey,
  CtWord,
  connectionCodec,
  ctKeyCodec,
  ctStateNames,
} from "../../abi/index.ts";
import { type Address, formatAddress } from "../../base/index.ts";
import { listInterfaces } from "../../bpf/index.ts";
import { protocolName } from "../../kinds/firewall/index.ts";
import type { PinnedDatapath } from "../compose-datapath.ts";
import { knownIds, observeDirectory } from "../directory.ts";
import { alignColumns, type Style } from "../style.ts";
import { formatCount, plain } from "../text.ts";

/** One end of a connection, and what it sent. */
export interface EndView {
  readonly address: string;
  /** Null for protocols without ports; of an echo the identifier. */
  readonly port: number | null;
  readonly packets: number;
  readonly bytes: number;
}

export interface ConnectionView {
  readonly protocol: string;
  readonly state: string;
  /** True once a packet came in the other direction. */
  readonly replied: boolean;
  /** Who opened it. */
  readonly source: EndView;
  readonly destination: EndView;
  /** Seconds since its first packet, and since its last. */
  readonly age: number;
  readonly idle: number;
  /** The rule that let it through; null if none did. */
  readonly rule: string | null;
  readonly interface: string;
}

/** An entry of the table, as far as filters look at it. */
export interface FoundConnection {
  readonly key: Uint8Array;
  readonly decodedKey: CtKey;
  readonly connection: Connection;
  readonly state: string;
}

/** Whether one is wanted. */
export type ConnectionFilter = (found: FoundConnection) => boolean;

/** Connections that the filter wants, in no order. What has ended and is still there is left out. */
export async function findConnections(
  datapath: PinnedDatapath,
  filter: ConnectionFilter,
): Promise<FoundConnection[]> {
  const map = datapath.object.map("connections");
  const found: FoundConnection[] = [];
  const { count, keys, values } = await map.readAll();
  for (let i = 0; i < count; i++) {
    const key = keys.slice(i * map.keyBytes, (i + 1) * map.keyBytes);
    const connection = connectionCodec.decode(values.subarray(i * map.valueBytes, (i + 1) * map.valueBytes));
    const state = ctStateNames[Number(connection.word & ((1n << BigInt(CtWord["state-bits"])) - 1n))];
    if (state === undefined || state === "ended") continue;
    const entry = { key, decodedKey: ctKeyCodec.decode(key), connection, state };
    if (filter(entry)) found.push(entry);
  }
  return found;
}

/** Words for entries that `findConnections` gave. `nowNs` is the monotonic clock. */
export async function describeConnections(
  datapath: PinnedDatapath,
  found: readonly FoundConnection[],
  nowNs: bigint,
): Promise<ConnectionView[]> {
  const names = knownIds(await observeDirectory(datapath)).filter(({ space }) => space === "rule");
  const rules = new Map(names.map(({ id, name }) => [id, name]));
  const interfaces = new Map(listInterfaces().map(({ index, name }) => [index, name]));
  return found.map(({ decodedKey, connection, state }) => {
    const flags = Number((connection.word >> BigInt(CtWord["flags-shift"])) & 0xfffn);
    const ends = endsOf(decodedKey, connection);
    const [source, destination] =
      flags & CtFlag["opened-by-high"] ? [ends.high, ends.low] : [ends.low, ends.high];
    return {
      protocol: protocolName(decodedKey.protocol),
      state,
      replied: (flags & CtFlag.replied) !== 0,
      source,
      destination,
      age: secondsSince(connection.createdNs, nowNs),
      idle: secondsSince(connection.seenNs, nowNs),
      rule: connection.ruleId === 0 ? null : (rules.get(connection.ruleId) ?? `rule ${connection.ruleId}`),
      interface: interfaces.get(connection.interface) ?? `interface ${connection.interface}`,
    };
  });
}

/** Both ends' addresses, by family. */
export function addressesOf(key: CtKey): readonly [Address, Address] {
  const family = key.family === 4 ? 4 : 6;
  const bytes = family === 4 ? 4 : 16;
  return [
    { family, bytes: key.low.subarray(0, bytes) },
    { family, bytes: key.high.subarray(0, bytes) },
  ];
}

function endsOf(key: CtKey, { side }: Connection): { readonly low: EndView; readonly high: EndView } {
  const [low, high] = addressesOf(key);
  const hasPorts = key.lowPort !== 0 || key.highPort !== 0;
  const end = (address: Address, port: number, sent: Connection["side"][number] | undefined): EndView => ({
    address: formatAddress(address),
    port: hasPorts ? port : null,
    packets: Number(sent?.packets ?? 0n),
    bytes: Number(sent?.bytes ?? 0n),
  });
  return { low: end(low, key.lowPort, side[0]), high: end(high, key.highPort, side[1]) };
}

function secondsSince(thenNs: bigint, nowNs: bigint): number {
  return nowNs > thenNs ? Number((nowNs - thenNs) / 1_000_000_000n) : 0;
}

export function renderConnections(views: readonly ConnectionView[], style: Style): string[] {
  if (views.length === 0) return [];
  const titles = ["Protocol", "State", "Source", "Destination", "sent", "received", "age", "idle", "Rule"];
  const head = titles.map((text) => ({ text, paint: style.dim }));
  const rows = views.map((view) => [
    view.protocol,
    { text: view.state, paint: view.replied ? style.green : style.yellow },
    endText(view.source),
    endText(view.destination),
    formatCount(view.source.packets),
    formatCount(view.destination.packets),
    `${formatCount(view.age)} s`,
    `${formatCount(view.idle)} s`,
    view.rule === null ? "-" : plain(view.rule),
  ]);
  return alignColumns([head, ...rows], { right: [4, 5, 6, 7] });
}

function endText({ address, port }: EndView): string {
  if (port === null) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
