// The rule table, records in evaluation order, told apart by rule id and part; what of a record its index knows; and
// the routes that rules name.
import {
  countOf,
  FwRuleFlag,
  fieldOf,
  fwRuleLayout,
  offsetOf,
  type StructLayout,
  xdpFirewallMaps,
} from "../../abi/index.ts";
import { bug } from "../../base/index.ts";
import { type RuleIndexSpec, referencesSpec, type TableSpec, tableSpec } from "../../compile/index.ts";

/** What the index knows of a record of this layout. */
export function ruleIndexOf(record: StructLayout): RuleIndexSpec {
  const endpoint = fieldOf(record, "source").type;
  if (endpoint.kind !== "struct") throw bug("Cannot index rules: their source is no endpoint");
  const address = (side: "source" | "destination"): RuleIndexSpec["source"] => {
    const at = (field: string) => offsetOf(record, side) + offsetOf(endpoint.layout, field);
    return {
      flag: FwRuleFlag[side],
      notFlag: FwRuleFlag[`${side}-not`],
      address: at("address"),
      mask: at("mask"),
      sets: at("sets"),
      family: at("family"),
    };
  };
  const ports = (side: "source" | "destination"): RuleIndexSpec["sourcePorts"] => ({
    ranges: offsetOf(record, `${side}Ports`),
    count: offsetOf(record, `${side}PortCount`),
    most: countOf(record, `${side}Ports`),
  });
  return {
    name: "fw_index",
    flags: offsetOf(record, "flags"),
    source: address("source"),
    destination: address("destination"),
    portsFlag: FwRuleFlag.ports,
    sourcePorts: ports("source"),
    destinationPorts: ports("destination"),
    icmpFlag: FwRuleFlag.icmp,
    protocols: offsetOf(record, "protocols"),
  };
}

export const ruleTable: TableSpec = tableSpec(xdpFirewallMaps.fw_rules, {
  shape: "ordered",
  presence: "action",
  identity: ["ruleId", "part"],
  limit: "rulesMax",
  index: ruleIndexOf(fwRuleLayout),
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

/** Processors among which packets are spread, by slot. */
export const steeringTable: TableSpec = tableSpec(xdpFirewallMaps.fw_steering, {
  shape: "slots",
  presence: "count",
});

/** The queues of processors, by their numbers. */
export const processorTable: TableSpec = referencesSpec(xdpFirewallMaps.fw_cpus, "processor");

/** The program that sends on and copies what XDP cannot; only where rules ask for that. */
export const routeProgram = "tc_firewall_ingress";

/** The program that sends answers of this host where rules want replies; only where connections are tracked. */
export const replyProgram = "tc_firewall_egress";

/** The program that judges by it. */
export const firewallProgram = "xdp_firewall";
