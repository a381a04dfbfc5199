// The log of commands that work without an agent. Their result says what came of it, so only what goes beyond that
// is told: repairs, and what could not be read. With --debug, everything.
import type { Logger } from "../reconcile/index.ts";
import type { Output } from "./output.ts";
import { safeJson } from "./text.ts";

export function commandLog(output: Output, debug: boolean): Logger {
  const tell = (level: string) => (facts: object, message: string) => {
    if (debug) output.note(`${level} ${message} ${safeJson(facts)}`);
  };
  return {
    info: tell("info"),
    warn(facts, message) {
      if (debug) tell("warn")(facts, message);
      // Attempts are in the command's own result.
      else if (!("outcome" in facts)) output.warn(message);
    },
    error(facts, message) {
      if (debug) tell("error")(facts, message);
      // What has a code is the error that the command ends with.
      else if (!("code" in facts)) output.warn(message);
    },
  };
}
