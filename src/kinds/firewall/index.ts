// The Firewall kind: ordered rules at XDP, first match.
import type { KindDefinition } from "../../compile/index.ts";
import { compileFirewalls } from "./compile.ts";
import { describeRule } from "./describe.ts";
import { describeRouteEntry } from "./routes-describe.ts";
import { deviceTable, replyRouteTable, routeTable, ruleTable } from "./tables.ts";

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
  tables: [ruleTable, routeTable, replyRouteTable, deviceTable],
  compile: compileFirewalls,
  describe(table, key, payload, names) {
    return table === ruleTable.name
      ? describeRule(payload, names)
      : describeRouteEntry({ table, key, payload }, names);
  },
};
