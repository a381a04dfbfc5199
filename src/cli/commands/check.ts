// check: does this host carry the datapath? Tries for real what can be tried without a trace.
import { existsSync } from "node:fs";
import { checkFeatures, datapathObjects, type FeatureCheck } from "../../bpf/index.ts";
import { defineCommand } from "../command.ts";
import { bpffsOf } from "../compose-datapath.ts";
import { exitCode } from "../exit-codes.ts";
import { objectDirectory } from "../places.ts";
import { alignColumns, type Style } from "../style.ts";
import { countOf, plain } from "../text.ts";

interface CheckView {
  readonly ok: boolean;
  readonly checks: readonly FeatureCheck[];
}

export const checkCommand = defineCommand({
  name: "check",
  summary: "See whether this host carries the datapath",
  description: "See whether kernel, rights and mounts of this host carry the datapath; works without root",
  flags: "places",
  examples: [
    ["penstock check", "everything, with a remedy for what is missing"],
    ["penstock check -o json", "the same for machines"],
  ],
  exits: { 0: "nothing is missing (there may be warnings)", 1: "something is missing" },
  async run(context) {
    const checks = [...checkFeatures({ bpffs: bpffsOf(context.settings()) }), checkObject()];
    const view: CheckView = { ok: checks.every((check) => check.status !== "fail"), checks };
    context.output.result(view, renderChecks);
    return view.ok ? exitCode.done : exitCode.failed;
  },
});

function checkObject(): FeatureCheck {
  const check = { name: "datapath-object", needed: "the compiled datapath" };
  const missing = datapathObjects(objectDirectory).filter(({ path }) => !existsSync(path));
  if (missing.length === 0) return { ...check, status: "ok", found: "present" };
  return {
    ...check,
    status: "fail",
    found: `without ${missing.map(({ path }) => path).join(", ")}`,
    remedy: "Build it: npm run build",
  };
}

function renderChecks(view: CheckView, style: Style): string[] {
  const paints = { ok: style.green, warn: style.yellow, fail: style.red };
  const rows = view.checks.map(({ name, status, found }) => [
    { text: status, paint: paints[status] },
    name,
    plain(found),
  ]);
  const lines = alignColumns(rows);
  // One missing right fails many checks: its remedy is told once.
  const known = new Set<string>();
  const told = view.checks.flatMap(({ status, needed, remedy }, i) => {
    const line = lines[i] ?? "";
    if (status === "ok") return [line];
    const isNew = remedy !== undefined && !known.has(remedy);
    if (isNew) known.add(remedy);
    return [
      line,
      style.dim(`      needed: ${plain(needed)}`),
      ...(isNew ? [`      remedy: ${plain(remedy)}`] : []),
    ];
  });
  return [...told, "", summarise(view, style)];
}

function summarise({ checks }: CheckView, style: Style): string {
  const failed = checks.filter((check) => check.status === "fail").length;
  const warned = checks.filter((check) => check.status === "warn").length;
  const warnings = warned === 0 ? "" : `, with ${countOf(warned, "warning")}`;
  if (failed > 0)
    return `${style.red("This host cannot carry the datapath:")} ${countOf(failed, "check")} failed.`;
  return `${style.green("This host carries the datapath")}${warnings}.`;
}
