// Bytes of policy files -> PolicySet and diagnostics: reads every file, judges every document, and collects all
// findings. Nothing here knows what a kind means; that is the kinds' part.
import { compareText, type Diagnostic, type PolicyFile, type Position } from "../base/index.ts";
import { quote } from "./explain-words.ts";
import { defaultPolicyLimits, type PolicyLimits } from "./limits.ts";
import { createLocator, type Locator } from "./locator.ts";
import { createPolicySet, deepFreeze } from "./policy-set.ts";
import { findValue } from "./positions.ts";
import type { RawDocument } from "./raw.ts";
import { type ReadFile, readPolicyFile } from "./read.ts";
import { type AnyPolicyDocument, type PolicyPath, type PolicySet, policyKinds } from "./types.ts";
import { type ValidDocument, validateDocument } from "./validate.ts";

export interface ParsedPolicy {
  /** The documents without errors; whether to go on with them alone is the caller's decision. */
  readonly policy: PolicySet;
  /**
   * The same, and what is left of documents with errors: for finding everything that is wrong in one run, never
   * for applying.
   */
  readonly checkable: PolicySet;
  /** By file, line and column. */
  readonly diagnostics: Diagnostic[];
}

/** Parses and validates the files of one revision. Never throws for what is in them. */
export function parsePolicy(
  files: readonly PolicyFile[],
  options: { readonly limits?: Partial<PolicyLimits> } = {},
): ParsedPolicy {
  const limits = { ...defaultPolicyLimits, ...options.limits };
  const locator = createLocator(limits);
  const names = new Map<string, Position>();
  const documents: AnyPolicyDocument[] = [];
  const checkable: AnyPolicyDocument[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const file of [...files].sort((a, b) => compareText(a.path, b.path))) {
    const read = readPolicyFile(file, limits);
    for (const [index, raw] of read.documents.entries()) {
      const validated = validateDocument(raw, read.findings.report);
      const isFirst = claimName(raw, read, names);
      if (validated.kind === "unusable" || !isFirst) continue;
      const original = validated.kind === "partial" ? validated.original : (path: PolicyPath) => path;
      const document = createDocument(validated.document, { file, index, locator, original });
      if (validated.kind === "valid") documents.push(document);
      checkable.push(document);
    }
    if (checkable.at(-1)?.file === file.path) locator.keep(file, read);
    diagnostics.push(...read.findings.list());
  }
  return { policy: createPolicySet(documents), checkable: createPolicySet(checkable), diagnostics };
}

/** False, with a report, if a document of the same kind has the same name; a document with errors counts too. */
function claimName(raw: RawDocument, read: ReadFile, names: Map<string, Position>): boolean {
  const { kind, metadata } = (raw.value ?? {}) as { kind?: unknown; metadata?: { name?: unknown } | null };
  const name = metadata?.name;
  if (!policyKinds.some((known) => known === kind) || typeof name !== "string") return true;
  const at = findValue(raw.positions, ["metadata", "name"]);
  const key = `${String(kind)} ${name}`;
  const first = names.get(key);
  if (first === undefined) {
    names.set(key, { file: read.file, ...read.lines().positionAt(at) });
    return true;
  }
  const message = `There is another ${String(kind)} ${quote(name)} at ${first.file}:${first.line}; give one of them another name`;
  read.findings.report("duplicate-name", at, message);
  return false;
}

function createDocument(
  { kind, metadata, spec }: ValidDocument,
  {
    file,
    index,
    locator,
    original,
  }: {
    readonly file: PolicyFile;
    readonly index: number;
    readonly locator: Locator;
    readonly original: (path: PolicyPath) => PolicyPath;
  },
): AnyPolicyDocument {
  const document = {
    kind,
    name: metadata.name,
    metadata: deepFreeze(metadata),
    spec: deepFreeze(spec),
    file: file.path,
    locate: (path: PolicyPath) => locator.locate(file, index, original(path)),
  };
  // The schema of `kind` has accepted `spec`.
  return Object.freeze(document) as AnyPolicyDocument;
}
