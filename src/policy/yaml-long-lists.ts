// The YAML library needs about a kilobyte and eight microseconds for each list entry. This file takes the long,
// plain part of lists of words out of the text beforehand: in a block of lines that are all `- <word>` with
// the same indentation, the lines between the first and the last are replaced by one line with a marker, which
// the builder replaces by the entries. A parser that reads the marker as an entry of a list would have read each
// of those lines as an entry, because such a line leaves it in the state in which it found it. Where the marker
// turns up anywhere else (in a block of text, say) the file is read again without this.

export interface LongList {
  /** What stands in the text instead of the entries. */
  readonly marker: string;
  readonly values: string[];
  /** Offsets of the values in the original text. */
  readonly offsets: number[];
  /** Set when the builder has met the marker as a list's entry. */
  taken: boolean;
}

export interface ShortenedText {
  readonly text: string;
  readonly lists: readonly LongList[];
  /** Translates an offset of `text` to the original text. */
  originalOffset(offset: number): number;
}

const markerStem = "penstock-long-list-";
// A word such as an address, a prefix or a domain name, plain or in quotes, and a remark. No other YAML syntax can
// hide in these characters: a colon is followed by more of the word, and nothing special can come first.
const line = /( *)- (?:(["'])([\w:./-]+)\2|([\w:.](?:[\w:./-]*[\w./-])?))[ \t]*(?:[ \t]#[^\n]*)?\r?\n/y;

/** Shortens every run of at least `entriesMin` such lines. */
export function shortenLongLists(text: string, entriesMin: number): ShortenedText {
  if (text.includes(markerStem)) return withoutShortening(text);
  const lists: LongList[] = [];
  const pieces: string[] = [];
  const cuts: { readonly at: number; readonly removed: number }[] = [];
  let copied = 0;
  let written = 0;
  for (let at = 0; at < text.length; ) {
    const run = readRun(text, at);
    if (run.values.length >= Math.max(entriesMin, 3)) {
      const { secondLine: from, lastLine: to } = run;
      const marker = `${markerStem}${lists.length}`;
      const replacement = `${run.indent}- ${marker}\n`;
      pieces.push(text.slice(copied, from), replacement);
      written += from - copied + replacement.length;
      cuts.push({ at: written, removed: to - from - replacement.length });
      copied = to;
      lists.push({ marker, values: inner(run.values), offsets: inner(run.offsets), taken: false });
    }
    at = run.end;
  }
  pieces.push(text.slice(copied));
  const originalOffset = (offset: number) =>
    cuts.reduce((sum, cut) => (offset >= cut.at ? sum + cut.removed : sum), offset);
  return { text: pieces.join(""), lists, originalOffset };
}

export function withoutShortening(text: string): ShortenedText {
  return { text, lists: [], originalOffset: (offset) => offset };
}

interface Run {
  readonly indent: string;
  /** Where the second and the last line of the run begin. */
  readonly secondLine: number;
  readonly lastLine: number;
  readonly values: string[];
  readonly offsets: number[];
  /** Where the next line begins that does not belong to the run. */
  readonly end: number;
}

function readRun(text: string, start: number): Run {
  const run = { secondLine: 0, lastLine: 0, values: [] as string[], offsets: [] as number[] };
  let indent = "";
  let at = start;
  for (;;) {
    line.lastIndex = at;
    const match = line.exec(text);
    const [, spaces = "", , quoted, plain = ""] = match ?? [];
    const value = quoted ?? plain;
    const fits = match !== null && (quoted !== undefined || isStringInYaml(plain));
    if (!fits || (run.values.length > 0 && spaces !== indent)) break;
    indent = spaces;
    if (run.values.length === 1) run.secondLine = at;
    run.lastLine = at;
    run.values.push(value);
    run.offsets.push(at + spaces.length + 2);
    at = line.lastIndex;
  }
  if (run.values.length > 0) return { ...run, indent, end: at };
  const newline = text.indexOf("\n", at);
  return { ...run, indent, end: newline < 0 ? text.length : newline + 1 };
}

/** The list without its first and last entry; no copy, for a million of them are in it. */
function inner<T>(entries: T[]): T[] {
  entries.pop();
  entries.shift();
  return entries;
}

/** True for what no reader of the core schema takes for a number, a truth value or null. */
function isStringInYaml(plain: string): boolean {
  if (plain.endsWith(":")) return false;
  if (/^[A-Za-z_]/.test(plain)) return !/^(?:null|true|false)$/i.test(plain);
  return plain.includes(":") || plain.includes("/") || plain.indexOf(".") !== plain.lastIndexOf(".");
}
