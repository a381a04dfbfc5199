// A revision's files -> what the kernel shall hold on this host, or the findings that forbid it.
import { type Diagnostic, hasErrors, type Revision, sortDiagnostics } from "../base/index.ts";
import {
  compilePolicy,
  type DesiredState,
  type HostInterface,
  type IdRange,
  type IdSpace,
  type KindDefinition,
  type KnownId,
} from "../compile/index.ts";
import { type GeoFile, openGeo } from "../geo/index.ts";
import { type PolicySet, parsePolicy, selectForNode } from "../policy/index.ts";

export interface PolicyInput {
  readonly files: Revision["files"];
  readonly labels: Readonly<Record<string, string>>;
  readonly kinds: readonly KindDefinition[];
  readonly interfaces: readonly HostInterface[];
  readonly knownIds: readonly KnownId[];
  readonly idRanges: Readonly<Record<IdSpace, IdRange>>;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** The database of countries; absent if none is configured. */
  readonly geo?: GeoFile;
}

/** What reconciling needs of a policy: plain data, which another thread can hand over. */
export type PreparedPolicy = Accepted | Refused;

/** The same with the documents, for those who ask what they say. */
export type PreparedDocuments = (Accepted & { readonly policy: PolicySet }) | Refused;

interface Accepted {
  readonly ok: true;
  readonly desired: DesiredState;
  /** The database of countries that went into it, in words; undefined if none did. */
  readonly geo: string | undefined;
  readonly diagnostics: readonly Diagnostic[];
}

interface Refused {
  readonly ok: false;
  readonly diagnostics: readonly Diagnostic[];
}

/** Parses, selects and compiles. Findings of all stages come together. */
export function preparePolicy(input: PolicyInput): PreparedDocuments {
  const parsed = parsePolicy(input.files);
  const policy = selectForNode(parsed.checkable, input.labels);
  const geo = openGeo(input.geo);
  const compiled = compilePolicy({ ...input, policy, geo: geo.lookUp });
  // Of documents with errors a part may be missing: that others refer to it is no finding of its own then.
  const broken = hasErrors(parsed.diagnostics);
  const own = compiled.diagnostics.filter((d) => !broken || d.code !== "unknown-set");
  const diagnostics = sortDiagnostics([...parsed.diagnostics, ...own]);
  if (hasErrors(diagnostics)) return { ok: false, diagnostics };
  return { ok: true, policy, desired: compiled.desired, geo: geo.used(), diagnostics };
}
