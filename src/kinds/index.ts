// The list of kinds: those that define names come before those that use them.
import type { KindDefinition } from "../compile/index.ts";
import { addressSetKind } from "./address-set/index.ts";
import { firewallKind } from "./firewall/index.ts";
import { interfaceGroupKind } from "./interface-group/index.ts";

/** Every policy kind, in the order in which they are compiled. */
export const kinds: readonly KindDefinition[] = [interfaceGroupKind, addressSetKind, firewallKind];
