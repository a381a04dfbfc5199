// Generated from schema/address-set.schema.json by scripts/generate-policy-types.ts. Do not edit.
import type { Metadata, NodeSelector } from "./common.ts";

/**
 * A named set of IPv4 and IPv6 addresses and prefixes that rules refer to.
 */
export interface AddressSet {
  /**
   * The version of the policy language.
   */
  readonly apiVersion: "penstock/v1";
  /**
   * The kind of this document.
   */
  readonly kind: "AddressSet";
  readonly metadata: Metadata;
  readonly spec: AddressSetSpec;
}
/**
 * The members of the set: prefixes, countries or both.
 */
export interface AddressSetSpec {
  readonly nodes?: NodeSelector;
  /**
   * Addresses (192.0.2.1, 2001:db8::1) and prefixes (10.0.0.0/8, 2001:db8::/32). An empty list is a set without members.
   *
   * @maxItems 1000000
   *
   * Items: An IPv4 or IPv6 address, or a prefix whose host bits are zero.
   */
  readonly prefixes?: readonly string[];
  /**
   * Countries whose networks are members, as the database of the agent's configuration (geo.database) knows them.
   *
   * @minItems 1
   * @maxItems 256
   *
   * Items: Two upper-case letters of ISO 3166-1: DE, FR.
   */
  readonly countries?: readonly string[];
}
