// Generated from schema/common.schema.json by scripts/generate-policy-types.ts. Do not edit.
/**
 * Port numbers and inclusive ranges: 22, "2200-2299".
 *
 * @minItems 1
 * @maxItems 1024
 */
export type PortList = readonly (number | string)[];

/**
 * What identifies and describes a document.
 */
export interface Metadata {
  /**
   * Unique among the documents of one kind. Counters and history follow the name.
   */
  readonly name: string;
  /**
   * Free key and value pairs for people and tools.
   */
  readonly labels?: {
    readonly [k: string]: string;
  };
  /**
   * Free text that Penstock does not read.
   */
  readonly annotations?: {
    readonly [k: string]: string;
  };
}
/**
 * The hosts on which this document is in force: those whose labels (set in the agent's configuration) have all of these values. Absent means all hosts.
 */
export interface NodeSelector {
  /**
   * Label names and the values that a host must have.
   */
  readonly matchLabels: {
    readonly [k: string]: string;
  };
}
