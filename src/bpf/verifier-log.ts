// The verifier's log of a refused program: thousands of lines, of which the last but the statistics says why.
import { PenstockError } from "../base/index.ts";
import { errnoName } from "./errno.ts";

const TAIL_LINES = 60;
const TAIL_CHARACTERS = 8192;
const STATISTICS = /^(processed \d|verification time|stack depth|max_states|peak_states|mark_read|libbpf: )/;

/** The last 60 lines, at most 8192 characters, of a NUL-terminated log. */
export function readLogTail(buffer: Uint8Array): string {
  const end = buffer.indexOf(0);
  const text = Buffer.from(buffer.subarray(0, end < 0 ? buffer.length : end)).toString("utf8");
  return text.trimEnd().split("\n").slice(-TAIL_LINES).join("\n").slice(-TAIL_CHARACTERS);
}

/** The line that states the reason. */
export function findReason(log: string): string {
  const lines = log.split("\n").filter((line) => line.trim() !== "" && !STATISTICS.test(line));
  return lines.at(-1)?.trim() ?? "no reason given";
}

/** Code `program-refused`; the log's tail is in `data.log`. */
export function refusedError(
  program: string,
  object: string,
  refusal: { readonly errno: number; readonly log: string },
): PenstockError {
  return new PenstockError({
    code: "program-refused",
    disposition: "stalled",
    message: `Cannot load program ${program} of ${object}: the kernel's verifier says "${findReason(refusal.log)}"`,
    remedy: "Run a supported kernel (penstock check), or report the verifier log with the kernel's version",
    data: { program, object, errno: errnoName(refusal.errno), log: refusal.log },
  });
}
