// The Firewall kind: ordered rules at XDP, first match.
import type { KindDefinition } from "../../compile/index.ts";
import { compileFirewalls } from "./compile.ts";
import { describeRule } from "./describe.ts";
import { describeRouteEntry } from "./routes-describe.ts";
import { describeSteeringEntry } from "./steering.ts";
import {
  deviceTable,
  processorTable,
  replyRouteTable,
  routeTable,
  ruleTable,
  steeringTable,
} from "./tables.ts";

export {
  type ConnectionLimits,
  type DescribedPacket,
  type Judgement,
  type ModelInput,
  type PacketState,
  prepareModel,
  type RouteReference,
  type RuleReference,
} from "./model.ts";
export { findTracker } from "./model-policy.ts";
export { dscpNumbers, icmpTypes, icmpv6Types, nameOfNumber, nameTcpFlags, tcpFlagBits } from "./names.ts";
export { protocolName, protocolNumbers } from "./protocols.ts";

/** See schema/firewall.schema.json and docs/kinds/firewall.md. */
export const firewallKind: KindDefinition = {
  kind: "Firewall",
  tables: [ruleTable, routeTable, replyRouteTable, deviceTable, steeringTable, processorTable],
  compile: compileFirewalls,
  describe(table, key, payload, names) {
    if (table === ruleTable.name) return describeRule(payload, names);
    const entry = { table, key, payload };
    return describeSteeringEntry(entry, names) ?? describeRouteEntry(entry, names);
  },
};
