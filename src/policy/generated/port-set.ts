// Generated from schema/port-set.schema.json by scripts/generate-policy-types.ts. Do not edit.
import type { Metadata, NodeSelector, PortList } from "./common.ts";

/**
 * A named set of TCP and UDP ports that rules refer to.
 */
export interface PortSet {
  /**
   * The version of the policy language.
   */
  readonly apiVersion: "penstock/v1";
  /**
   * The kind of this document.
   */
  readonly kind: "PortSet";
  readonly metadata: Metadata;
  readonly spec: PortSetSpec;
}
/**
 * The members of the set.
 */
export interface PortSetSpec {
  readonly nodes?: NodeSelector;
  readonly ports: PortList;
}
