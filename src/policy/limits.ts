// How much one policy file may hold. The limits bound time and memory before anything is built from a file.

export interface PolicyLimits {
  /** Bytes of one file. */
  readonly bytesMax: number;
  /** Entries of all lists of one file together, and the same again for the fields of all its mappings. */
  readonly itemsMax: number;
  /** Fields of one mapping. */
  readonly fieldsMax: number;
  /** Lists and mappings inside each other. */
  readonly depthMax: number;
  /** Uses of YAML anchors in one file. */
  readonly aliasesMax: number;
  /** Shorter lists in YAML are left to the YAML library as they are (see yaml-long-lists.ts). */
  readonly longListMin: number;
  /** Findings of one file that are told one by one; the rest is only counted. */
  readonly findingsMax: number;
}

export const defaultPolicyLimits: PolicyLimits = Object.freeze({
  bytesMax: 64 * 1024 * 1024,
  itemsMax: 1_000_000,
  fieldsMax: 1_000,
  depthMax: 64,
  aliasesMax: 100,
  longListMin: 256,
  findingsMax: 1_000,
});

/** `1,000,000`: the same on every machine whatever its locale. */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

export function describeTooLarge(limits: PolicyLimits): string {
  return `The file has more than ${formatCount(limits.itemsMax)} list entries or fields; split it into several files and documents`;
}

export function describeTooWide(limits: PolicyLimits): string {
  return `This mapping has more than ${formatCount(limits.fieldsMax)} fields`;
}

export function describeTooDeep(limits: PolicyLimits): string {
  return `Lists and mappings are more than ${limits.depthMax} levels deep here`;
}
