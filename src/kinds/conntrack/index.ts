// The Conntrack kind: where connections are tracked, with which timeouts.
import { CtSetting, countOf, ctSettingRecordCodec, ctSettingRecordLayout } from "../../abi/index.ts";
import { formatDuration } from "../../base/index.ts";
import type { CompileContext, KindDefinition, Names } from "../../compile/index.ts";
import type { PolicyDocument } from "../../policy/index.ts";
import { settingsTable, trackingPrograms } from "./tables.ts";
import { timeoutFields, timeoutMax, timeoutOf } from "./timeouts.ts";

type Document = PolicyDocument<"Conntrack">;

const states = countOf(ctSettingRecordLayout, "timeoutsS");

/** See schema/conntrack.schema.json and docs/kinds/conntrack.md. */
export const conntrackKind: KindDefinition = {
  kind: "Conntrack",
  tables: [settingsTable],
  compile(context) {
    for (const document of context.policy.byKind("Conntrack")) compileDocument(context, document);
  },
  describe(_table, key, payload, names) {
    return { subject: subjectOf(key, names), detail: detailOf(payload) };
  },
};

function compileDocument(context: CompileContext, document: Document): void {
  const { spec } = document;
  const slot = context.id("conntrack", document.name, { document, path: ["metadata", "name"] });
  spec.interfaces.forEach((name, i) => {
    context.groups.use(name, ...trackingPrograms);
    const other = context.groups.track(name, { slot, by: document.name });
    if (other === undefined) return;
    const message = `connections on ${other.interface.name} are tracked by "${other.by}" already; an interface takes the settings of one Conntrack document`;
    context.report({ document, path: ["spec", "interfaces", i] }, "error", "tracked-twice", message);
  });
  for (const each of timeoutFields) {
    if (timeoutOf(each, spec.timeouts) <= timeoutMax) continue;
    const path = ["spec", "timeouts", each.section, each.field];
    const message = `a timeout is at most ${formatDuration(timeoutMax)}`;
    context.report({ document, path }, "error", "timeout-too-long", message);
  }
  const timeoutsS = Array.from({ length: states }, () => 0);
  for (const each of timeoutFields) timeoutsS[each.state] = timeoutOf(each, spec.timeouts);
  const flags =
    (spec.pickUp === true ? CtSetting["pick-up"] : 0) | (spec.liberal === true ? CtSetting.liberal : 0);
  const key = new Uint8Array(4);
  new DataView(key.buffer).setUint32(0, slot, true);
  context
    .table(settingsTable)
    .add(
      key,
      ctSettingRecordCodec.encode({ timeoutsS, flags, present: 1 }),
      context.origin({ document, path: ["spec"] }),
    );
}

function subjectOf(key: Uint8Array, names: Names): string {
  const slot = new DataView(key.buffer, key.byteOffset).getUint32(0, true);
  return `connection tracking ${names.nameOf("conntrack", slot) ?? `in slot ${slot}`}`;
}

/** Only what differs from the standard. */
function detailOf(payload: Uint8Array): string {
  const { timeoutsS, flags } = ctSettingRecordCodec.decode(payload);
  const timeouts = timeoutFields.flatMap((each) => {
    const seconds = timeoutsS[each.state] ?? 0;
    return seconds === timeoutOf(each) ? [] : [`${each.section} ${each.field} ${formatDuration(seconds)}`];
  });
  return [
    flags & CtSetting["pick-up"] ? "picks up" : "",
    flags & CtSetting.liberal ? "liberal" : "",
    ...timeouts,
  ]
    .filter((word) => word !== "")
    .join(", ");
}
