// YAML 1.2 text (core schema) to documents: plain values and their positions. What makes YAML surprising is
// refused: tags, merge keys, other versions, repeated keys, keys that are no strings. Anchors work, within limits.
import {
  Composer,
  type CST,
  type Document,
  isNode,
  isScalar,
  Lexer,
  type ParsedNode,
  Parser,
  type YAMLError,
} from "yaml";
import type { PolicyCode } from "./codes.ts";
import type { Report } from "./findings.ts";
import { describeTooDeep, describeTooLarge, formatCount, type PolicyLimits } from "./limits.ts";
import type { RawDocument } from "./raw.ts";
import { buildDocument, takeLists } from "./yaml-build.ts";
import { type ShortenedText, shortenLongLists, withoutShortening } from "./yaml-long-lists.ts";

/** Reads all documents of a file; what is empty or was refused is reported and left out. */
export function readYaml(text: string, limits: PolicyLimits, report: Report): RawDocument[] {
  const shortened = shortenLongLists(text, limits.longListMin);
  // Reports wait until it is clear that the shortened text stands for the text.
  const waiting: Parameters<Report>[] = [];
  const first = readShortened(shortened, limits, (...finding) => waiting.push(finding));
  if (shortened.lists.some((list) => !list.taken))
    return readShortened(withoutShortening(text), limits, report);
  for (const finding of waiting) report(...finding);
  return first;
}

function readShortened(shortened: ShortenedText, limits: PolicyLimits, report: Report): RawDocument[] {
  const reportHere: Report = (code, at, ...rest) => {
    report(code, shortened.originalOffset(typeof at === "number" ? at : at()), ...rest);
  };
  const guard = { stopped: false };
  const composer = new Composer({
    version: "1.2",
    schema: "core",
    merge: false,
    resolveKnownTags: false,
    strict: true,
    stringKeys: true,
    // The library compares each key with all others; repeated keys are found while building.
    uniqueKeys: false,
    prettyErrors: false,
  });
  const read: RawDocument[] = [];
  let isEmpty = true;
  for (const document of composer.compose(readTokens(shortened.text, limits, reportHere, guard))) {
    isEmpty = false;
    if (guard.stopped) break;
    const built = readDocument(document as Document.Parsed, shortened, limits, reportHere);
    if (built !== undefined) read.push(built);
  }
  if (guard.stopped) return [];
  const { errors } = composer.streamInfo();
  reportSyntax(errors, shortened.text, reportHere);
  if (isEmpty && errors.length === 0) {
    reportHere(
      "empty-document",
      0,
      "The file is empty; write a policy document or remove the file",
      "warning",
    );
  }
  return read;
}

function readDocument(
  document: Document.Parsed,
  shortened: ShortenedText,
  limits: PolicyLimits,
  report: Report,
): RawDocument | undefined {
  reportSyntax(document.errors, shortened.text, report);
  if (document.errors.length > 0) {
    takeLists(document, shortened);
    return undefined;
  }
  for (const warning of document.warnings) {
    // The builder refuses tags, known or not.
    if (warning.code === "TAG_RESOLVE_FAILED") continue;
    report(codeOf(warning), Math.max(0, warning.pos[0]), describeSyntax(warning), "warning");
  }
  const contents: ParsedNode | null = document.contents;
  if (!isNode(contents) || (isScalar(contents) && contents.value === null)) {
    const at = document.range[0];
    report("empty-document", at, 'This document is empty; remove it and its "---"', "warning");
    return undefined;
  }
  return buildDocument(contents, { shortened, limits, report });
}

/**
 * The tokens of a text, until it holds too much. The library builds everything that a file says, and is
 * recursive: the guard keeps a hostile file from exhausting the memory or the stack.
 */
function* readTokens(
  text: string,
  limits: PolicyLimits,
  report: Report,
  guard: { stopped: boolean },
): Generator<CST.Token> {
  const parser = new Parser();
  const counts = { entries: 0, aliases: 0 };
  const stop = (code: PolicyCode, message: string) => {
    guard.stopped = true;
    report(code, parser.offset, message);
  };
  let isScalarNext = false;
  for (const lexeme of new Lexer().lex(text)) {
    if (!isScalarNext) countLexeme(lexeme, counts);
    isScalarNext = lexeme === scalarFollows;
    for (const token of parser.next(lexeme)) {
      if (token.type === "directive") checkDirective(token.source, token.offset, report);
      yield token;
    }
    // Flow mappings have commas too, so the exact count is left to the builder.
    if (counts.entries > 2 * limits.itemsMax) return stop("too-large", describeTooLarge(limits));
    if (counts.aliases > limits.aliasesMax) return stop("yaml-alias", describeTooManyAliases(limits));
    if (parser.stack.length > limits.depthMax + 8) return stop("too-deep", describeTooDeep(limits));
  }
  yield* parser.end();
}

/** The lexer's sign for "the next lexeme is the text of a scalar". */
const scalarFollows = "\x1f";

function countLexeme(lexeme: string, counts: { entries: number; aliases: number }): void {
  if (lexeme === "-" || lexeme === "," || lexeme === ":" || lexeme === "?") counts.entries++;
  else if (lexeme.startsWith("*")) counts.aliases++;
}

function checkDirective(source: string, at: number, report: Report): void {
  if (/^%YAML\s+1\.2\s*(#|$)/.test(source)) return;
  if (source.startsWith("%YAML")) report("yaml-version", at, "Only YAML 1.2 is read; remove this line");
  else report("yaml-tag", at, "Directives other than %YAML 1.2 are not allowed; remove this line");
}

/** What to do about the library's errors, where its sentence does not say it. */
const remedies: Readonly<Record<string, string>> = {
  BAD_INDENT: "indent the lines of one list or mapping equally",
  BAD_SCALAR_START: "put the value in quotes",
  BAD_DQ_ESCAPE: "write \\\\ for a backslash, or use single quotes",
  BLOCK_AS_IMPLICIT_KEY: "put the value on its own line, or in quotes if it holds a colon and a space",
  MISSING_CHAR: "add what is missing",
  MULTILINE_IMPLICIT_KEY: "check for a missing colon or a value that continues by accident",
  NON_STRING_KEY: "use a plain word",
  TAB_AS_INDENT: "indent with spaces",
};

/** Reports the first error of each line: the others on it are mostly its consequences. */
function reportSyntax(errors: readonly YAMLError[], text: string, report: Report): void {
  let lineEnd = -1;
  for (const error of errors) {
    const at = Math.max(0, error.pos[0]);
    if (at <= lineEnd) continue;
    lineEnd = text.indexOf("\n", at);
    if (lineEnd < 0) lineEnd = text.length;
    report(codeOf(error), at, () => describeSyntax(error));
  }
}

function describeSyntax(error: YAMLError): string {
  const said = error.code === "NON_STRING_KEY" ? "A field's name must be a text" : error.message;
  const sentence = said.replace(/\s+/g, " ").replace(/\.$/, "");
  const remedy = remedies[error.code];
  return remedy === undefined ? sentence : `${sentence}; ${remedy}`;
}

function codeOf(error: YAMLError): PolicyCode {
  switch (error.code) {
    case "RESOURCE_EXHAUSTION":
      return "too-deep";
    case "TAG_RESOLVE_FAILED":
    case "MULTIPLE_TAGS":
      return "yaml-tag";
    case "BAD_ALIAS":
    case "ALIAS_PROPS":
      return "yaml-alias";
    default:
      return "yaml-syntax";
  }
}

function describeTooManyAliases(limits: PolicyLimits): string {
  return `The file uses anchors more than ${formatCount(limits.aliasesMax)} times; write the values out`;
}
