// Changes in words, as plans, outcomes and drift reports show them. A list is cut at a number that a person can
// still read; the rest is counted.
import { diffWordsWithSpace } from "diff";
import { addressTables } from "../../compile/index.ts";
import type { ChangeAction, DescribedChange, DescribedChanges, Owner } from "../../reconcile/index.ts";
import type { Style } from "../style.ts";
import { formatCount, plain } from "../text.ts";

/** Changes that are listed one by one. */
export const changesMax = 200;

export interface ChangeView {
  readonly action: ChangeAction;
  readonly table: string;
  readonly subject: string;
  readonly before: string | null;
  readonly after: string | null;
  /** Where the policy says so; null for what goes. */
  readonly file: string | null;
  readonly line: number | null;
  /** Whose the entry is: only Git's are changed, unless Git takes another's place. */
  readonly owner: Owner;
}

export interface ChangeCounts {
  readonly add: number;
  readonly change: number;
  readonly remove: number;
}

export interface ChangeList extends ChangeCounts {
  /** At most 200. */
  readonly listed: readonly ChangeView[];
  readonly total: number;
}

export function viewChanges({ items, more }: DescribedChanges): ChangeList {
  const count = (...actions: ChangeAction[]) => items.filter((c) => actions.includes(c.action)).length;
  return {
    add: count("add") + more.add,
    change: count("change", "move", "repair") + more.change,
    remove: count("remove") + more.remove,
    // Rules are what a reviewer looks for; a feed of ten thousand prefixes must not push them out of the list.
    listed: [...items]
      .sort((a, b) => rankOf(a) - rankOf(b))
      .slice(0, changesMax)
      .map(viewChange),
    total: items.length + more.add + more.change + more.remove,
  };
}

function rankOf(change: DescribedChange): number {
  return addressTables.some(({ name }) => name === change.table) ? 1 : 0;
}

function viewChange(change: DescribedChange): ChangeView {
  const { action, table, subject, before, after, position, owner } = change;
  return {
    action,
    table,
    subject,
    before: before ?? null,
    after: after ?? null,
    file: position?.file ?? null,
    line: position?.line ?? null,
    owner,
  };
}

/** What tells two changes apart: the same change has the same key. */
export function changeKey(change: DescribedChange): string {
  const { action, table, subject, before, after } = change;
  return JSON.stringify([action, table, subject, before ?? null, after ?? null]);
}

/** The lines of a list of planned or done changes. */
export function renderChanges(list: ChangeList, style: Style): string[] {
  const width = Math.min(72, Math.max(0, ...list.listed.map((c) => plain(c.subject).length)));
  const lines = list.listed.flatMap((change) => renderChange(change, { width, style }));
  const more = list.total - list.listed.length;
  if (more > 0) lines.push(style.dim(`  ... and ${formatCount(more)} more`));
  return lines;
}

function renderChange(change: ChangeView, how: { readonly width: number; readonly style: Style }): string[] {
  const { style, width } = how;
  const subject = plain(change.subject);
  const place = change.file === null ? "" : style.dim(`${plain(change.file)}:${change.line}`);
  const head = `  ${symbolOf(change.action, style)} ${place === "" ? subject : `${subject.padEnd(width)}  ${place}`}`;
  const { before, after, action } = change;
  const note = [
    ...(action === "move" ? ["moved to another place in the order"] : []),
    ...(action === "repair" ? ["put right"] : []),
    ...(change.owner === "git" ? [] : [`takes the place of the ${change.owner}'s entry`]),
  ];
  const isSame = before === after;
  const details = [
    ...note.map((text) => style.dim(text)),
    ...(before === null || before === "" || isSame ? [] : [markDetail("-", before, change, style)]),
    ...(after === null || after === ""
      ? []
      : [isSame ? plain(after) : markDetail("+", after, change, style)]),
  ];
  return [head, ...details.map((detail) => `      ${detail}`)];
}

/** Only a change has two sides to tell apart; the words that differ are bold. */
function markDetail(sign: "+" | "-", text: string, change: ChangeView, style: Style): string {
  if (change.before === null || change.after === null) return plain(text);
  const paint = sign === "+" ? style.green : style.red;
  const words = diffWordsWithSpace(plain(change.before), plain(change.after))
    .filter((part) => (sign === "+" ? !part.removed : !part.added))
    .map((part) => (part.added || part.removed ? style.bold(paint(part.value)) : paint(part.value)));
  return `${paint(`${sign} `)}${words.join("")}`;
}

export function symbolOf(action: ChangeAction, style: Style): string {
  if (action === "add") return style.green("+");
  return action === "remove" ? style.red("-") : style.yellow("~");
}
