// The rule table, records in evaluation order, told apart by rule id and part; and the routes that rules name.

import { xdpFirewallMaps } from "../../abi/index.ts";
import { referencesSpec, type TableSpec, tableSpec } from "../../compile/index.ts";

export const ruleTable: TableSpec = tableSpec(xdpFirewallMaps.fw_rules, {
  shape: "ordered",
  presence: "action",
  identity: ["ruleId", "part"],
  limit: "rulesMax",
});

/** Ways that packets can take, by slot. */
export const routeTable: TableSpec = tableSpec(xdpFirewallMaps.fw_routes, {
  shape: "slots",
  presence: "kind",
});

/** The slot of the way that replies take, by rule id. */
export const replyRouteTable: TableSpec = tableSpec(xdpFirewallMaps.fw_reply_routes, {
  shape: "slots",
  presence: "route",
  limit: "rulesMax",
});

/** Interfaces that XDP sends to. */
export const deviceTable: TableSpec = referencesSpec(xdpFirewallMaps.fw_devices, "device");

/** The program that sends on and copies what XDP cannot; only where rules ask for that. */
export const routeProgram = "tc_firewall_ingress";

/** The program that judges by it. */
export const firewallProgram = "xdp_firewall";
