// Tables that no single kind owns: the directory of ids, and the bindings of interfaces to groups.
import {
  directoryKeyCodec,
  directoryNameCodec,
  idSpaceNames,
  IdSpace as idSpaceNumbers,
  xdpFirewallMaps,
} from "../abi/index.ts";
import type { IdRange, IdSpace, KnownId } from "./ids.ts";
import { tableSpec } from "./spec.ts";
import type { TableSpec } from "./table.ts";

/** Id -> name. User space only. */
export const directoryTable: TableSpec = tableSpec(xdpFirewallMaps.directory, {
  shape: "keyed",
  presence: "text",
  limit: "rulesMax",
});

/** ifindex -> groups. */
export const interfacesTable: TableSpec = tableSpec(xdpFirewallMaps.interfaces, {
  shape: "keyed",
  presence: "present",
  limit: "interfacesMax",
});

/**
 * Rule ids, and so hit counters, that a host with room for `rulesMax` rules needs: until a commit the old names keep
 * their ids, so that even a policy whose every rule is renamed fits.
 */
export function ruleIdsFor(rulesMax: number): number {
  return rulesMax * 2;
}

/**
 * Interface groups are bits of a 64-bit word, and the ids of processors are their numbers. Id 0 means "none" in every
 * other space.
 */
export function idRangesFor(rulesMax: number): Readonly<Record<IdSpace, IdRange>> {
  return {
    rule: { first: 1, last: ruleIdsFor(rulesMax) - 1 },
    document: { first: 1, last: 0xffff },
    "address-set": { first: 1, last: 0xffff },
    "interface-group": { first: 0, last: 63 },
    device: { first: 1, last: 0xff },
    processor: { first: 0, last: 0xfff },
    program: { first: 1, last: 0xff },
    conntrack: { first: 1, last: 0xff },
    route: { first: 1, last: 1023 },
    steering: { first: 1, last: 0xff },
  };
}

/** The most entries that the directory can need. */
export function directoryCapacityFor(rulesMax: number): number {
  return ruleIdsFor(rulesMax) + 8192;
}

export function idSpaceNumber(space: IdSpace): number {
  return idSpaceNumbers[space];
}

/** What one entry of the directory says; undefined if it makes no sense (somebody else wrote it). */
export function decodeDirectoryEntry(key: Uint8Array, payload: Uint8Array): KnownId | undefined {
  const { space, id } = directoryKeyCodec.decode(key);
  const spaceName = idSpaceNames[space];
  if (spaceName === undefined) return undefined;
  const { text } = directoryNameCodec.decode(payload);
  const end = text.indexOf(0);
  const name = new TextDecoder().decode(end < 0 ? text : text.subarray(0, end));
  return { space: spaceName, id, name };
}
