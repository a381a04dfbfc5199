// The Firewall kind: ordered rules at XDP, first match.
import type { KindDefinition } from "../../compile/index.ts";
import { compileFirewalls } from "./compile.ts";
import { describeRule } from "./describe.ts";
import { ruleTable } from "./tables.ts";

export {
  type DescribedPacket,
  type Judgement,
  type ModelInput,
  prepareModel,
  type RuleReference,
} from "./model.ts";
export { protocolName, protocolNumbers } from "./protocols.ts";

/** See schema/firewall.schema.json and docs/kinds/firewall.md. */
export const firewallKind: KindDefinition = {
  kind: "Firewall",
  tables: [ruleTable],
  compile: compileFirewalls,
  describe(_table, _key, payload, names) {
    return describeRule(payload, names);
  },
};
