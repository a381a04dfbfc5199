// The error for rules that the index has no room for.
import { PenstockError } from "../base/index.ts";

/** Room of the index that rules need too much of. */
export function indexFull(
  what: string,
  n: { readonly limit: number; readonly present: number; readonly wanted: number },
): PenstockError {
  return new PenstockError({
    code: "table-full",
    disposition: "stalled",
    message: `Cannot index the rules: they need ${n.wanted} ${what} or more, ${n.present} are in use, and there is room for ${n.limit}`,
    remedy: "Raise limits.rulesMax in the agent's configuration, or let fewer rules overlap",
    data: { what, ...n },
  });
}
