// The policy stage: bytes of policy files -> PolicySet and diagnostics.
export { type PolicyCode, policyCodes } from "./codes.ts";
export { type ParsedConfiguration, parseAgentConfiguration } from "./configuration.ts";
export type { AddressSet, AddressSetSpec } from "./generated/address-set.ts";
export type {
  AgentConfiguration,
  EventsConfiguration,
  GeoConfiguration,
  LimitsConfiguration,
  LogConfiguration,
  NodeConfiguration,
  ScheduleConfiguration,
  SourceConfiguration,
} from "./generated/agent-configuration.ts";
export type { Metadata, NodeSelector, PortList } from "./generated/common.ts";
export type { Conntrack, ConntrackSpec, ConntrackTimeouts } from "./generated/conntrack.ts";
export type {
  Firewall,
  FirewallDscp,
  FirewallEndpoint,
  FirewallIcmp,
  FirewallMacs,
  FirewallMatch,
  FirewallNextHop,
  FirewallPortChoice,
  FirewallPorts,
  FirewallProtocol,
  FirewallRule,
  FirewallSpec,
  FirewallState,
  FirewallSteering,
  FirewallVlan,
} from "./generated/firewall.ts";
export type { InterfaceGroup, InterfaceGroupSpec } from "./generated/interface-group.ts";
export type { PortSet, PortSetSpec } from "./generated/port-set.ts";
export type { PolicyLimits } from "./limits.ts";
export { type ParsedPolicy, parsePolicy } from "./parse.ts";
export { selectForNode } from "./policy-set.ts";
export { suggestWord } from "./suggest.ts";
export {
  type AnyPolicyDocument,
  type DocumentOf,
  type PolicyDocument,
  type PolicyKind,
  type PolicyPath,
  type PolicySet,
  policyKinds,
} from "./types.ts";
