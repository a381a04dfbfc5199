// The rule table, records in evaluation order, told apart by rule id and part; what of a record its index knows; and
// the routes that rules name.
import {
  countOf,
  FwRuleFlag,
  fwEndpointLayout,
  fwRuleLayout,
  offsetOf,
  xdpFirewallMaps,
} from "../../abi/index.ts";
import { type RuleIndexSpec, referencesSpec, type TableSpec, tableSpec } from "../../compile/index.ts";

function addressOf(side: "source" | "destination"): RuleIndexSpec["source"] {
  const at = (field: "address" | "mask" | "sets" | "family") =>
    offsetOf(fwRuleLayout, side) + offsetOf(fwEndpointLayout, field);
  return {
    flag: FwRuleFlag[side],
    notFlag: FwRuleFlag[`${side}-not`],
    address: at("address"),
    mask: at("mask"),
    sets: at("sets"),
    family: at("family"),
  };
}

function portsOf(side: "source" | "destination"): RuleIndexSpec["sourcePorts"] {
  return {
    ranges: offsetOf(fwRuleLayout, `${side}Ports`),
    count: offsetOf(fwRuleLayout, `${side}PortCount`),
    most: countOf(fwRuleLayout, `${side}Ports`),
  };
}

export const ruleTable: TableSpec = tableSpec(xdpFirewallMaps.fw_rules, {
  shape: "ordered",
  presence: "action",
  identity: ["ruleId", "part"],
  limit: "rulesMax",
  index: {
    name: "fw_index",
    flags: offsetOf(fwRuleLayout, "flags"),
    source: addressOf("source"),
    destination: addressOf("destination"),
    portsFlag: FwRuleFlag.ports,
    sourcePorts: portsOf("source"),
    destinationPorts: portsOf("destination"),
    icmpFlag: FwRuleFlag.icmp,
    protocols: offsetOf(fwRuleLayout, "protocols"),
  },
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
