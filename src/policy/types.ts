// What the policy stage hands on: parsed documents by kind, each able to say where in its file a value stands.
// Values are as the user wrote them; defaults and the meaning of addresses are the kinds' business.
import type { Position } from "../base/index.ts";
import { type DocumentTypes, schemaNames } from "./generated/kinds.ts";

/** What `kind:` can say. The list is generated from the schemas: a kind exists when its schema does. */
export type PolicyKind = keyof DocumentTypes;

/** All kinds, sorted. */
export const policyKinds: readonly PolicyKind[] = Object.freeze(
  Object.keys(schemaNames).sort() as PolicyKind[],
);

/** The content of a document of kind `K`, as its schema describes it. */
export type DocumentOf<K extends PolicyKind> = DocumentTypes[K];

/** Steps from the document's root: `["spec", "rules", 3, "match"]`. */
export type PolicyPath = readonly (string | number)[];

export interface PolicyDocument<K extends PolicyKind = PolicyKind> {
  readonly kind: K;
  /** `metadata.name`; unique among the documents of one kind. */
  readonly name: string;
  readonly metadata: DocumentOf<K>["metadata"];
  readonly spec: DocumentOf<K>["spec"];
  /** The file's path in the repository. */
  readonly file: string;
  /**
   * Where the value at `path` begins, or, if there is none, its nearest ancestor that exists. Reads the file's
   * text again on the first call (an error path: do not call it for every value).
   */
  locate(path: PolicyPath): Position;
}

/** A document of any kind, so that `switch (document.kind)` narrows it. */
export type AnyPolicyDocument = { [K in PolicyKind]: PolicyDocument<K> }[PolicyKind];

/** All valid documents of a revision, deeply frozen. */
export interface PolicySet {
  /** In the order of files and of documents in them. */
  readonly documents: readonly AnyPolicyDocument[];
  /** The documents of one kind, sorted by name. */
  byKind<K extends PolicyKind>(kind: K): readonly PolicyDocument<K>[];
}
