// The sources that the datapath blocks, in words: who, for how much longer, and by which rule.
import { blockCodec, blockKeyCodec } from "../../abi/index.ts";
import { type Address, formatAddress } from "../../base/index.ts";
import type { PinnedDatapath } from "../compose-datapath.ts";
import { knownIds, observeDirectory } from "../directory.ts";
import { alignColumns, type Style } from "../style.ts";
import { formatCount, plain } from "../text.ts";

export interface BlockView {
  readonly source: string;
  /** Seconds that the block still has. */
  readonly remaining: number;
  /** The rule whose limit the source wanted to exceed. */
  readonly rule: string;
}

/** An entry of the set that is not over. */
export interface FoundBlock {
  readonly key: Uint8Array;
  readonly source: Address;
  readonly remaining: number;
  readonly ruleId: number;
}

/** Sources that are blocked at `nowNs` of the monotonic clock; those that will be for longest come first. */
export async function findBlocks(datapath: PinnedDatapath, nowNs: bigint): Promise<FoundBlock[]> {
  const map = datapath.object.map("fw_blocked");
  const { count, keys, values } = await map.readAll();
  const found: FoundBlock[] = [];
  for (let i = 0; i < count; i++) {
    const key = keys.slice(i * map.keyBytes, (i + 1) * map.keyBytes);
    const { word, ruleId } = blockCodec.decode(values.subarray(i * map.valueBytes, (i + 1) * map.valueBytes));
    const remaining = Number((word & 0xffffffffn) - nowNs / 1_000_000_000n);
    if (remaining > 0) found.push({ key, source: sourceOf(key), remaining, ruleId });
  }
  return found.sort((a, b) => b.remaining - a.remaining || Buffer.compare(a.key, b.key));
}

function sourceOf(key: Uint8Array): Address {
  const { address, family } = blockKeyCodec.decode(key);
  return family === 6 ? { family: 6, bytes: address.slice() } : { family: 4, bytes: address.slice(0, 4) };
}

/** Words for entries that `findBlocks` gave. */
export async function describeBlocks(
  datapath: PinnedDatapath,
  found: readonly FoundBlock[],
): Promise<BlockView[]> {
  const names = knownIds(await observeDirectory(datapath)).filter(({ space }) => space === "rule");
  const rules = new Map(names.map(({ id, name }) => [id, name]));
  return found.map(({ source, remaining, ruleId }) => ({
    source: formatAddress(source),
    remaining,
    rule: rules.get(ruleId) ?? `rule ${ruleId}`,
  }));
}

export function renderBlocks(views: readonly BlockView[], style: Style): string[] {
  if (views.length === 0) return [];
  const head = ["Source", "remaining", "Rule"].map((text) => ({ text, paint: style.dim }));
  const rows = views.map(({ source, remaining, rule }) => [
    source,
    `${formatCount(remaining)} s`,
    plain(rule),
  ]);
  return alignColumns([head, ...rows], { right: [1] });
}
