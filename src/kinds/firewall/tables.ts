// The rule table: records in evaluation order, told apart by rule id and part.

import { xdpFirewallMaps } from "../../abi/index.ts";
import { type TableSpec, tableSpec } from "../../compile/index.ts";

export const ruleTable: TableSpec = tableSpec(xdpFirewallMaps.fw_rules, {
  shape: "ordered",
  presence: "action",
  identity: ["ruleId", "part"],
  limit: "rulesMax",
});

/** The program that judges by it. */
export const firewallProgram = "xdp_firewall";
