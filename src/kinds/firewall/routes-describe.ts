// Routes in words: what a rule says about them, and the entries of their tables.
import { FwRouteFlag, FwRouteKind, type FwRule, fwReplyRouteCodec, fwRouteCodec } from "../../abi/index.ts";
import { formatAddress } from "../../base/index.ts";
import type { EntryText, Names } from "../../compile/index.ts";
import { replyRouteTable, routeTable } from "./tables.ts";

/** `to wan2 192.0.2.1, replies to wan2, copies to mon0`; empty if the rule names no route. */
export function routeWords(rule: FwRule, names: Names): string {
  const words = [
    rule.routeTo === 0 ? "" : `to ${nameOf(rule.routeTo, names)}`,
    rule.replyTo === 0 ? "" : `replies to ${nameOf(rule.replyTo, names)}`,
    rule.mirrorTo === 0 ? "" : nameOf(rule.mirrorTo, names),
  ];
  return words.filter((word) => word !== "").join(", ");
}

/** An entry of a table of routes, of reply routes or of devices. */
export function describeRouteEntry(
  entry: { readonly table: string; readonly key: Uint8Array; readonly payload: Uint8Array },
  names: Names,
): EntryText {
  const { table, key, payload } = entry;
  if (table === routeTable.name) return describeRoute(wordAt(key), payload, names);
  if (table === replyRouteTable.name) {
    const { route } = fwReplyRouteCodec.decode(payload);
    const rule = names.nameOf("rule", wordAt(key)) ?? `with id ${wordAt(key)}`;
    return { subject: `replies of rule ${rule}`, detail: `to ${nameOf(route, names)}` };
  }
  const device = names.nameOf("device", wordAt(key)) ?? `with id ${wordAt(key)}`;
  return { subject: `device ${device}`, detail: interfaceWords(wordAt(payload), names) };
}

function describeRoute(slot: number, payload: Uint8Array, names: Names): EntryText {
  const route = fwRouteCodec.decode(payload);
  const subject = `route ${nameOf(slot, names)}`;
  if (route.kind === FwRouteKind.missing) return { subject, detail: "through an interface that is missing" };
  const words = [
    `${route.kind === FwRouteKind.mirror ? "copies" : "packets"} to ${interfaceWords(route.ifindex, names)}`,
    route.flags & FwRouteFlag["next-hop-v4"] ? formatAddress({ family: 4, bytes: route.nextHopV4 }) : "",
    route.flags & FwRouteFlag["next-hop-v6"] ? formatAddress({ family: 6, bytes: route.nextHopV6 }) : "",
    route.flags & FwRouteFlag.fast ? "fast" : "",
  ];
  return { subject, detail: words.filter((word) => word !== "").join(" ") };
}

function nameOf(slot: number, names: Names): string {
  return names.nameOf("route", slot) ?? `route ${slot}`;
}

function interfaceWords(index: number, names: Names): string {
  return names.interfaceName(index) ?? `interface ${index}`;
}

function wordAt(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
}
