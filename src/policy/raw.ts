// What the readers of JSON and YAML hand to validation.
import type { PositionNode } from "./positions.ts";

/** A document before it is known to be policy: plain values, and where they stand. */
export interface RawDocument {
  readonly value: unknown;
  readonly positions: PositionNode;
  /** True if something was reported that forbids to take the document as it is, such as a repeated key. */
  readonly hasErrors: boolean;
}
