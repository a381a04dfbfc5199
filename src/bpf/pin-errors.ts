// What can be wrong with a set of pins as a whole.
import { PenstockError } from "../base/index.ts";

/** Some maps that programs judge by cannot be found. */
export function pinsIncomplete(pinDirectory: string, missing: readonly string[]): PenstockError {
  return new PenstockError({
    code: "pins-incomplete",
    disposition: "stalled",
    message: `Cannot use the datapath: ${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} not pinned in ${pinDirectory}`,
    remedy:
      "The programs go on with the maps that they hold. Run penstock detach and start the agent again: until it has applied the policy, packets pass unjudged",
    data: { missing },
  });
}

/** Another version made the maps. */
export function pinsForeign(pinDirectory: string, foreign: readonly string[]): PenstockError {
  return new PenstockError({
    code: "pins-foreign",
    disposition: "stalled",
    message: `Cannot read the datapath: ${foreign.join(", ")} in ${pinDirectory} ${foreign.length === 1 ? "has" : "have"} the layout of another version`,
    remedy: "Use the version of penstock that the agent has",
    data: { foreign },
  });
}
