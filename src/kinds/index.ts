// The list of kinds: those that define names come before those that use them; and the tables that they all fill.
import {
  appliedTable,
  directoryCapacityFor,
  directoryTable,
  idRangesFor,
  indexCapacitiesFor,
  type KindDefinition,
  ruleIdsFor,
  type TableSpec,
} from "../compile/index.ts";
import type { LimitsConfiguration } from "../policy/index.ts";
import { addressSetKind } from "./address-set/index.ts";
import { conntrackKind } from "./conntrack/index.ts";
import { firewallKind } from "./firewall/index.ts";
import { interfaceGroupKind } from "./interface-group/index.ts";
import { portSetKind } from "./port-set/index.ts";

/** Every policy kind, in the order in which they are compiled. */
export const kinds: readonly KindDefinition[] = [
  interfaceGroupKind,
  addressSetKind,
  portSetKind,
  conntrackKind,
  firewallKind,
];

/** Every table that policy fills, the applied revision last: it says that all the others are complete. */
export const policyTables: readonly TableSpec[] = [
  ...kinds.flatMap((kind) => kind.tables),
  directoryTable,
  appliedTable,
];

/** How many entries each map is made for, by its name; those that are not named keep the program's number. */
export function capacitiesFor(limits: LimitsConfiguration): Readonly<Record<string, number>> {
  const { rulesMax, addressesMax, interfacesMax, connectionsMax } = limits;
  const ids = idRangesFor(rulesMax);
  return {
    fw_rules: rulesMax,
    fw_routes: ids.route.last + 1,
    fw_reply_routes: ruleIdsFor(rulesMax),
    fw_devices: ids.device.last + 1,
    ...indexCapacitiesFor("fw_index", rulesMax),
    rule_counters: ruleIdsFor(rulesMax),
    address_set_v4: addressesMax,
    address_set_v6: addressesMax,
    interfaces: interfacesMax,
    directory: directoryCapacityFor(rulesMax),
    connections: connectionsMax,
    ct_candidates: connectionsMax,
    ct_slots: connectionsMax,
    source_counts: connectionsMax,
    rule_counts: ruleIdsFor(rulesMax),
  };
}
