// The agent's configuration as a command sees it: the file, with the command line's options over it. A command that
// only talks to a running agent needs no repository, so the source may be missing.
import { readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { formatDiagnostic, PenstockError } from "../base/index.ts";
import {
  type AgentConfiguration,
  parseAgentConfiguration,
  type SourceConfiguration,
} from "../policy/index.ts";
import { lockName, socketName } from "./places.ts";
import { countOf } from "./text.ts";
import { UsageError } from "./usage.ts";

/** Where the configuration is when nobody says otherwise. */
export const defaultConfigPath = "/etc/penstock/agent.yaml";

/** The options that stand above the file. */
export interface Flags {
  readonly config?: string;
  readonly repo?: string;
  readonly ref?: string;
  readonly path?: string;
  readonly stateDir?: string;
  readonly runDir?: string;
  readonly pinDir?: string;
  readonly nodeName?: string;
  /** `key=value`, any number. */
  readonly label?: readonly string[];
}

export interface Settings extends Omit<AgentConfiguration, "source"> {
  /** Undefined if neither the file nor an option names a repository. */
  readonly source: SourceConfiguration | undefined;
  /** The file's source before the options: what a running agent follows. */
  readonly fileSource: SourceConfiguration | undefined;
  readonly host: string;
  readonly lockPath: string;
  readonly socketPath: string;
  /** What the configuration file is warned about. */
  readonly warnings: readonly string[];
}

/** Reads the file and lays the options over it. Throws `configuration-invalid`, `configuration-unreadable`. */
export function loadSettings(flags: Flags): Settings {
  const file = readConfiguration(flags.config);
  const base = file.configuration ?? defaultConfiguration();
  const fileSource = file.configuration?.source;
  const over = checkFlags(flags, base);
  const source = overlaySource(flags, fileSource, over.source);
  const runDirectory = flags.runDir === undefined ? base.runDirectory : over.runDirectory;
  const pinDirectory = flags.pinDir === undefined ? base.pinDirectory : over.pinDirectory;
  checkPinDirectory(pinDirectory);
  return {
    ...base,
    source,
    fileSource,
    node: { ...base.node, ...over.node, labels: { ...base.node.labels, ...over.node.labels } },
    stateDirectory: flags.stateDir === undefined ? base.stateDirectory : over.stateDirectory,
    runDirectory,
    pinDirectory,
    host: over.node.name ?? base.node.name ?? hostname(),
    lockPath: join(runDirectory, lockName),
    socketPath: join(runDirectory, socketName),
    warnings: file.warnings,
  };
}

/** The repository to follow. Throws `no-repository` if nobody named one. */
export function requireSource(settings: Settings): SourceConfiguration {
  if (settings.source !== undefined) return settings.source;
  throw new PenstockError({
    code: "no-repository",
    disposition: "stalled",
    message: `Cannot find the policy: no repository is configured, and there is no ${defaultConfigPath}`,
    remedy: "Name one with --repo URL, or write the configuration file",
  });
}

function readConfiguration(path: string | undefined): {
  readonly configuration: AgentConfiguration | undefined;
  readonly warnings: readonly string[];
} {
  const place = path ?? defaultConfigPath;
  let content: Uint8Array;
  try {
    content = readFileSync(place);
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown error";
    if (path === undefined && code === "ENOENT") return { configuration: undefined, warnings: [] };
    throw new PenstockError({
      code: "configuration-unreadable",
      disposition: "stalled",
      message: `Cannot read the configuration ${place}: ${code}`,
      remedy: "Check the path and its mode, or name another file with --config",
      data: { path: place },
      cause,
    });
  }
  const { configuration, diagnostics } = parseAgentConfiguration(place, content);
  const findings = diagnostics.map(formatDiagnostic);
  if (configuration !== undefined) return { configuration, warnings: findings };
  throw new PenstockError({
    code: "configuration-invalid",
    disposition: "stalled",
    message: `Cannot use the configuration ${place}: ${countOf(findings.length, "error")}`,
    remedy: "Correct what is named above",
    data: { findings },
  });
}

function defaultConfiguration(): AgentConfiguration {
  return parseOptions({ source: { url: "/" } });
}

/** The options as a configuration of their own, so that they meet the same rules as the file. */
function checkFlags(flags: Flags, base: AgentConfiguration): AgentConfiguration {
  const { repo, ref, path, stateDir, runDir, pinDir, nodeName } = flags;
  const given = <T>(name: string, value: T | undefined) => (value === undefined ? {} : { [name]: value });
  return parseOptions({
    source: {
      url: repo === undefined ? base.source.url : absoluteRepository(repo),
      ...given("ref", ref),
      ...given("path", path),
    },
    node: { ...given("name", nodeName), labels: parseLabels(flags.label ?? []) },
    ...given("stateDirectory", stateDir === undefined ? undefined : resolve(stateDir)),
    ...given("runDirectory", runDir === undefined ? undefined : resolve(runDir)),
    ...given("pinDirectory", pinDir === undefined ? undefined : resolve(pinDir)),
  });
}

function parseOptions(options: object): AgentConfiguration {
  const content = new TextEncoder().encode(JSON.stringify(options));
  const { configuration, diagnostics } = parseAgentConfiguration("options.json", content);
  if (configuration !== undefined) return configuration;
  const [first] = diagnostics;
  throw new UsageError(`Cannot use the options: ${first?.message ?? "they are not valid"}`, "See --help");
}

/** Credentials belong to the repository that the file names: another one never gets to see them. */
function overlaySource(
  flags: Flags,
  file: SourceConfiguration | undefined,
  over: SourceConfiguration,
): SourceConfiguration | undefined {
  if (file === undefined) return flags.repo === undefined ? undefined : over;
  if (flags.repo === undefined || over.url === file.url) {
    return {
      ...file,
      ...(flags.ref === undefined ? {} : { ref: over.ref }),
      ...(flags.path === undefined ? {} : { path: over.path }),
    };
  }
  return {
    ...over,
    ref: flags.ref === undefined ? file.ref : over.ref,
    path: flags.path === undefined ? file.path : over.path,
    timeoutSeconds: file.timeoutSeconds,
  };
}

function absoluteRepository(repo: string): string {
  return /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(repo) || isAbsolute(repo) ? repo : resolve(repo);
}

function parseLabels(labels: readonly string[]): Record<string, string> {
  const parsed: [string, string][] = labels.map((label) => {
    const equals = label.indexOf("=");
    if (equals > 0) return [label.slice(0, equals), label.slice(equals + 1)];
    throw new UsageError(`Cannot use --label ${label}: it has no "="`, "Write --label key=value");
  });
  return Object.fromEntries(parsed);
}

/** Detaching removes every pin of the directory, so it must be one of our own. */
function checkPinDirectory(directory: string): void {
  const own = statSync(directory, { throwIfNoEntry: false });
  const above = statSync(dirname(directory), { throwIfNoEntry: false });
  if (directory !== "/" && (own === undefined || above === undefined || own.dev === above.dev)) return;
  throw new PenstockError({
    code: "pin-directory-shared",
    disposition: "stalled",
    message: `Cannot pin in ${directory}: it is the root of a file system, where others pin too`,
    remedy: "Configure a directory below it, such as /sys/fs/bpf/penstock",
    data: { directory },
  });
}
