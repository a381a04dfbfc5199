// Generated from schema/interface-group.schema.json by scripts/generate-policy-types.ts. Do not edit.
import type { Metadata, NodeSelector } from "./common.ts";

/**
 * Network interfaces that share policy. A Firewall document names groups; the agent attaches its programs to every interface of a group that exists on the host.
 */
export interface InterfaceGroup {
  /**
   * The version of the policy language.
   */
  readonly apiVersion: "penstock/v1";
  /**
   * The kind of this document.
   */
  readonly kind: "InterfaceGroup";
  readonly metadata: Metadata;
  readonly spec: InterfaceGroupSpec;
}
/**
 * What the group is made of.
 */
export interface InterfaceGroupSpec {
  readonly nodes?: NodeSelector;
  /**
   * Interface names, or patterns in which * stands for any characters: eth0, veth*. An interface that does not exist yet is taken up when it appears.
   *
   * @minItems 1
   * @maxItems 1024
   *
   * Items: The name of a network interface, or a pattern in which * stands for any characters: at most 15 characters, without spaces, slashes and colons.
   */
  readonly interfaces: readonly string[];
  /**
   * How XDP programs are attached: native (in the driver), generic (in the network stack, slower, works everywhere), or auto (native, else generic).
   */
  readonly attach?: "native" | "generic" | "auto";
}
