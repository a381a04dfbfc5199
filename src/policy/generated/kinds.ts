// Generated from schema/*.schema.json by scripts/generate-policy-types.ts. Do not edit.
import type { AddressSet } from "./address-set.ts";
import type { Conntrack } from "./conntrack.ts";
import type { Firewall } from "./firewall.ts";
import type { InterfaceGroup } from "./interface-group.ts";
import type { PortSet } from "./port-set.ts";

/** The type of each kind's documents. */
export interface DocumentTypes {
  readonly AddressSet: AddressSet;
  readonly Conntrack: Conntrack;
  readonly Firewall: Firewall;
  readonly InterfaceGroup: InterfaceGroup;
  readonly PortSet: PortSet;
}

/** The schema of each kind, by its file name in schema/ without `.schema.json`. */
export const schemaNames = {
  AddressSet: "address-set",
  Conntrack: "conntrack",
  Firewall: "firewall",
  InterfaceGroup: "interface-group",
  PortSet: "port-set",
} as const;
