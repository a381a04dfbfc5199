// The frozen set of documents that the stages after this one work on.
import { compareText } from "../base/index.ts";
import type { AnyPolicyDocument, PolicyDocument, PolicyKind, PolicySet } from "./types.ts";

/** A set of the given documents, whose names are unique within each kind. */
export function createPolicySet(documents: readonly AnyPolicyDocument[]): PolicySet {
  const byKind = new Map<PolicyKind, AnyPolicyDocument[]>();
  for (const document of documents) {
    const same = byKind.get(document.kind);
    if (same === undefined) byKind.set(document.kind, [document]);
    else same.push(document);
  }
  for (const same of byKind.values()) Object.freeze(same.sort((a, b) => compareText(a.name, b.name)));
  const none: readonly AnyPolicyDocument[] = Object.freeze([]);
  return Object.freeze({
    documents: Object.freeze([...documents]),
    // The map's lists hold documents of their key's kind only.
    byKind: <K extends PolicyKind>(kind: K) => (byKind.get(kind) ?? none) as readonly PolicyDocument<K>[],
  });
}

/** The documents that are in force on a host with these labels (`spec.nodes`; absent means every host). */
export function selectForNode(policy: PolicySet, labels: Readonly<Record<string, string>>): PolicySet {
  return createPolicySet(
    policy.documents.filter(({ spec }) =>
      Object.entries(spec.nodes?.matchLabels ?? {}).every(([label, value]) => labels[label] === value),
    ),
  );
}

/** Freezes a value made of lists and mappings, all the way down. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  if (Array.isArray(value)) for (const item of value) deepFreeze(item);
  else for (const item of Object.values(value)) deepFreeze(item);
  return Object.freeze(value);
}
