// Drift: where the kernel departs from what was applied, seen from the kernel.
import type { DriftReport } from "../../reconcile/index.ts";
import type { Style } from "../style.ts";
import { countOf, formatCount, plain } from "../text.ts";
import { type ChangeList, type ChangeView, viewChanges } from "./changes.ts";

export interface DriftView {
  /** The revision in force, by its name. */
  readonly revision: string;
  readonly drift: boolean;
  /** `add` is missing in the kernel, `remove` is there without a reason. */
  readonly entries: ChangeList;
  readonly attachments: readonly string[];
}

const noChanges = { items: [], more: { add: 0, change: 0, remove: 0 } };

export function viewDrift(revision: string, report: DriftReport | undefined): DriftView {
  return {
    revision,
    drift: report !== undefined,
    entries: viewChanges(report?.entries ?? noChanges),
    attachments: report?.attachments ?? [],
  };
}

export function renderDrift(view: DriftView, style: Style): string[] {
  if (!view.drift) return [`${style.green("No drift.")} The kernel holds what ${plain(view.revision)} says.`];
  const places = view.entries.total + view.attachments.length;
  return [
    `${style.yellow("Drift:")} the kernel departs from ${plain(view.revision)} in ${countOf(places, "place")}.`,
    "",
    ...renderDepartures(view, style),
  ];
}

/** The departures one by one. */
export function renderDepartures(view: DriftView, style: Style): string[] {
  const more = view.entries.total - view.entries.listed.length;
  return [
    ...view.attachments.map((text) => `  ${style.red("-")} ${plain(text)}`),
    ...view.entries.listed.flatMap((entry) => renderDeparture(entry, style)),
    ...(more > 0 ? [style.dim(`  ... and ${formatCount(more)} more`)] : []),
  ];
}

function renderDeparture(entry: ChangeView, style: Style): string[] {
  const subject = `${plain(entry.subject)}${entry.owner === "git" ? "" : ` (${entry.owner}'s)`}`;
  const place = entry.file === null ? "" : style.dim(`  ${plain(entry.file)}:${entry.line}`);
  const line = (name: string, text: string | null) =>
    text === null || text === "" ? [] : [`      ${style.dim(name)} ${plain(text)}`];
  switch (entry.action) {
    case "add":
      return [`  ${style.red("-")} ${subject} is missing${place}`, ...line("policy:", entry.after)];
    case "remove":
      return [`  ${style.green("+")} ${subject} is not of this policy`, ...line("kernel:", entry.before)];
    case "move":
      return [`  ${style.yellow("~")} ${subject} is in another place of the order${place}`];
    case "repair":
      return [`  ${style.yellow("~")} ${subject} is damaged${place}`];
    case "change":
      return [
        `  ${style.yellow("~")} ${subject} says something else${place}`,
        ...line("policy:", entry.after),
        ...line("kernel:", entry.before),
      ];
  }
}
