// The state of a host: what is in force, since when, and what the agent says of itself.
import type { Condition, HistoryEntry, Status, TableUse } from "../../reconcile/index.ts";
import { alignColumns, type Cell, type Style } from "../style.ts";
import { formatCount, formatSince, plain, shortCommit } from "../text.ts";
import { renderHistory } from "./history.ts";

/** The process that answered; null if the command looked by itself. */
export interface AgentView {
  readonly pid: number;
  readonly version: string;
  readonly socket: string;
  /** RFC 3339. */
  readonly startedAt: string;
}

export interface StatusView {
  readonly host: string;
  readonly agent: AgentView | null;
  /** False if no datapath is pinned: nothing judges packets. */
  readonly installed: boolean;
  readonly source: string | null;
  readonly ref: string | null;
  readonly applied: string | null;
  readonly seen: string | null;
  readonly held: string | null;
  readonly generation: number | null;
  readonly conditions: readonly Condition[];
  readonly attached: Status["attached"];
  readonly tables: readonly TableUse[];
  readonly history: readonly HistoryEntry[];
}

export function viewStatus(
  status: Status,
  about: { readonly agent: AgentView | null; readonly installed: boolean },
): StatusView {
  const { host, source, ref, applied, seen, held, generation } = status;
  return {
    host,
    agent: about.agent,
    installed: about.installed,
    source: source === "" ? null : source,
    ref: ref === "" ? null : ref,
    applied: applied ?? null,
    seen: seen ?? null,
    held: held ?? null,
    generation: about.installed ? generation : null,
    conditions: status.conditions,
    attached: about.installed ? status.attached : [],
    tables: about.installed ? status.tables : [],
    history: status.history,
  };
}

/** Renders with the ages of things as of `nowMs`. */
export function renderStatus(view: StatusView, style: Style, nowMs: number): string[] {
  return [
    ...alignColumns(headRows(view, style, nowMs)),
    ...part("Conditions", conditionLines(view.conditions, style, nowMs), style),
    ...part("Programs", attachedLines(view), style),
    ...part("Tables", tableLines(view.tables), style),
    ...part("History", renderHistory(view.history, style, 2), style),
  ];
}

function headRows(view: StatusView, style: Style, nowMs: number): Cell[][] {
  const { agent, ref } = view;
  const rows: Cell[][] = [[label("Host", style), plain(view.host)]];
  const age = agent === null ? "" : formatSince(Date.parse(agent.startedAt), nowMs);
  rows.push([
    label("Agent", style),
    agent === null
      ? { text: "not running", paint: style.yellow }
      : `version ${plain(agent.version)}, process ${agent.pid}, running for ${age}`,
  ]);
  if (view.source !== null)
    rows.push([label("Source", style), `${plain(view.source)}, ref ${plain(ref ?? "?")}`]);
  rows.push([label("Applied", style), describeApplied(view, style)]);
  if (view.held !== null) {
    const text = `${shortCommit(view.held)} was rolled back and stays out until the ref moves`;
    rows.push([label("Held back", style), { text, paint: style.yellow }]);
  }
  if (view.generation !== null) rows.push([label("Generation", style), String(view.generation)]);
  return rows;
}

function describeApplied(view: StatusView, style: Style): Cell {
  if (!view.installed) return { text: "nothing is installed; packets pass unjudged", paint: style.yellow };
  if (view.applied === null) return { text: "nothing yet", paint: style.yellow };
  const [last] = view.history;
  const isLast = last?.revision.endsWith(`sha1:${shortCommit(view.applied)}`) === true;
  if (!isLast) return { text: shortCommit(view.applied), paint: style.bold };
  return `${style.bold(plain(last.revision))} "${plain(last.subject)}"`;
}

function label(text: string, style: Style): Cell {
  return { text, paint: style.dim };
}

function part(title: string, lines: readonly string[], style: Style): string[] {
  return lines.length === 0 ? [] : ["", style.bold(title), ...lines];
}

/** Which status of a condition is the good one. */
const wanted: Readonly<Record<Condition["type"], Condition["status"]>> = {
  Ready: "True",
  Reconciling: "False",
  Stalled: "False",
  SourceReady: "True",
  DriftFree: "True",
};

function conditionLines(conditions: readonly Condition[], style: Style, nowMs: number): string[] {
  const rows = conditions.map(({ type, status, reason, message, since }): Cell[] => {
    const paint = status === "Unknown" || type === "Reconciling" ? style.yellow : style.red;
    return [
      type,
      { text: status, paint: status === wanted[type] ? style.green : paint },
      formatSince(Date.parse(since), nowMs),
      plain(reason),
      plain(message),
    ];
  });
  return alignColumns(rows, { indent: 2 });
}

function attachedLines(view: StatusView): string[] {
  const rows = view.attached.map((a) => [a.program, `on ${plain(a.interface)}`, a.mode]);
  return alignColumns(rows, { indent: 2 });
}

function tableLines(tables: readonly TableUse[]): string[] {
  const rows = tables.map((t) => [t.table, formatCount(t.entries), "of", formatCount(t.capacity)]);
  return alignColumns(rows, { right: [1, 3], indent: 2 });
}
