// What a source did by itself and somebody should know of; the composition root logs and counts these.

export type SourceEvent =
  /** The object store was damaged; its objects were deleted and fetched again. */
  | { readonly kind: "store-rebuilt"; readonly reason: string }
  /** The store held many packs; they were replaced by one. */
  | { readonly kind: "store-compacted"; readonly packsBefore: number }
  /** The store belonged to another url or ref: what was known of that one was forgotten. */
  | { readonly kind: "source-changed"; readonly what: "url" | "ref" }
  /** The record of the last known tip was unreadable: the next fetch cannot tell whether history was rewritten. */
  | { readonly kind: "tip-lost" }
  /** A rewritten history was accepted because the configuration allows it. */
  | { readonly kind: "rewrite-accepted"; readonly from: string; readonly to: string };
