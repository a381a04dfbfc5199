// Address sets as kernel tables: one trie a family for all sets, the set's id first in the key. Several kinds
// put prefixes there: named sets, and rules whose list of prefixes is too long to stand in the rule.
import {
  addressKeyV4Codec,
  addressKeyV4Layout,
  addressKeyV6Codec,
  addressMemberCodec,
  fieldOf,
  Owner,
  Presence,
  xdpFirewallMaps,
} from "../abi/index.ts";
import { formatPrefix, type Prefix } from "../base/index.ts";
import type { CompileContext, EntryText, Names } from "./kind.ts";
import { tableSpec } from "./spec.ts";
import type { TableSpec } from "./table.ts";

const options = { shape: "prefix", presence: "presence", limit: "addressesMax" } as const;
const v4Table = tableSpec(xdpFirewallMaps.address_set_v4, options);
const v6Table = tableSpec(xdpFirewallMaps.address_set_v6, options);

/** The tries of both families. */
export const addressTables: readonly TableSpec[] = [v4Table, v6Table];

/** Bits of the key that hold the set's id and always count. */
const setIdBits = fieldOf(addressKeyV4Layout, "setId").size * 8;

const member = addressMemberCodec.encode({ presence: Presence.own, owner: Owner.git });
const keyV4 = new Uint8Array(v4Table.keySize);
const keyV6 = new Uint8Array(v6Table.keySize);

/** Adds a prefix to set `setId`. Of one that is added again the first counts. */
export function addPrefix(context: CompileContext, setId: number, prefix: Prefix, origin: number): void {
  const fields = { prefixLength: setIdBits + prefix.length, setId, address: prefix.bytes };
  if (prefix.family === 4) {
    context.table(v4Table).add(addressKeyV4Codec.encode(fields, keyV4), member, origin);
  } else {
    context.table(v6Table).add(addressKeyV6Codec.encode(fields, keyV6), member, origin);
  }
}

/** `10.0.0.0/8 in address set office` */
export function describeAddress(table: string, key: Uint8Array, names: Names): EntryText {
  const family = table === v4Table.name ? 4 : 6;
  const codec = family === 4 ? addressKeyV4Codec : addressKeyV6Codec;
  const { prefixLength, setId, address } = codec.decode(key);
  const prefix = formatPrefix({ family, bytes: address, length: prefixLength - setIdBits });
  const set = names.nameOf("address-set", setId) ?? `with id ${setId}`;
  return { subject: `${prefix} in address set ${set}`, detail: "" };
}
