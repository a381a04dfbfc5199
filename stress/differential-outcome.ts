// What becomes of one packet: what the program made of it, what it must be by the model's judgement, and where the two
// part.
import { CarriedFlag, carriedCodec } from "../src/abi/index.ts";
import type { RunResult } from "../src/bpf/index.ts";
import type { Judgement } from "../src/kinds/firewall/model.ts";
import { frameAfter } from "../test/fixtures/packet-outcome.ts";

const xdpVerdicts: Readonly<Record<number, "drop" | "pass" | "answer">> = {
  1: "drop",
  2: "pass",
  3: "answer",
};

/** What differs, in words; undefined if nothing does. Of a packet that was dropped nobody sees more than that. */
export function outcomeDiffers(
  frame: Uint8Array,
  { judged, ran }: { readonly judged: Judgement; readonly ran: RunResult },
  ruleIds: ReadonlyMap<string, number>,
): string | undefined {
  const wanted = frameAfter(frame, judged);
  const outcome = wanted === undefined ? "drop" : judged.verdict === "reject" ? "answer" : "pass";
  const found = xdpVerdicts[ran.verdict];
  if (found !== outcome) return `${found ?? ran.verdict}, ${outcome} by the model`;
  if (wanted === undefined) return undefined;
  const left = ran.frame.subarray(ran.metadataBytes);
  if (Buffer.compare(left, wanted) !== 0)
    return `left as ${Buffer.from(left).toString("hex")}, as ${Buffer.from(wanted).toString("hex")} by the model`;
  if (outcome === "answer") return undefined;
  const rule = judged.rule === undefined ? undefined : `${judged.rule.document}/${judged.rule.rule}`;
  const ruleId = rule === undefined ? 0 : (ruleIds.get(rule) ?? 0);
  const carried = ran.metadataBytes === 0 ? undefined : carriedCodec.decode(ran.frame);
  const mark = carried !== undefined && carried.flags & CarriedFlag.mark ? carried.mark : 0;
  if (carried?.ruleId !== ruleId || mark !== (judged.mark ?? 0))
    return `carries rule ${carried?.ruleId} and mark ${mark}, ${ruleId} (${rule}) and ${judged.mark ?? 0} by the model`;
  const goes = { isRouted: carried.routeTo !== 0, isCopied: carried.mirrorTo !== 0 };
  const isRouted = judged.reason === "routed";
  // TC copies nothing to an interface that is missing.
  const isCopied = judged.route?.dupTo !== undefined;
  if (goes.isRouted !== isRouted || (isCopied && !goes.isCopied))
    return `${JSON.stringify(goes)}, ${JSON.stringify({ isRouted, isCopied })} by the model`;
  return undefined;
}
