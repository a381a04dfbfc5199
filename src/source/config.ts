// What the operator says about the policy repository, checked before anything is opened. Secrets come in here
// and go no further than http.ts; nothing in this folder reads files or the environment for them.
import { isAbsolute, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { cleanText } from "./clean-text.ts";
import {
  credentialsInUrl,
  policyPathInvalid,
  refInvalid,
  unsupportedTransport,
  urlInvalid,
} from "./errors.ts";
import type { SourceEvent } from "./events.ts";

/** A user name with a password, or a token. A token goes out as the password of Basic (what Git hosts expect) or as Bearer. */
export type SourceCredentials =
  | { readonly username?: string; readonly password?: string }
  | { readonly token: string; readonly username?: string; readonly scheme?: "basic" | "bearer" };

export interface SourceLimits {
  /** Bytes of one pack as the server sends it. */
  readonly packBytesMax: number;
  /** Bytes of one policy file. */
  readonly fileBytesMax: number;
  /** Bytes of all policy files together. */
  readonly totalBytesMax: number;
  readonly filesMax: number;
  /** Folders below the policy path, one in another. */
  readonly depthMax: number;
}

export interface SourceConfig {
  /** http(s) URL, file:// URL, or the path of a local repository, bare or not. */
  readonly url: string;
  /** Branch, tag, full ref name, `HEAD`, or commit id (40 hex digits, or at least 7 of them). */
  readonly ref: string;
  /** Folder of the policy inside the repository; "" is its root. */
  readonly path: string;
  /** Holds the object store (see storeDirectoryOf). */
  readonly stateDirectory: string;
  readonly credentials?: SourceCredentials;
  readonly limits?: Partial<SourceLimits>;
  /** Longest silence: while connecting, before the answer, and between two pieces of it. Default 15 s. */
  readonly timeoutMs?: number;
  /** Longest duration of one poll or fetch altogether. Default 5 min. */
  readonly totalTimeoutMs?: number;
  /** Follow the ref even if its history was rewritten. Default false. */
  readonly allowRewrite?: boolean;
  /** Told of what the source did by itself (rebuilding the store, for example). Must not throw. */
  readonly onEvent?: (event: SourceEvent) => void;
}

/** Where the repository is. `label` is safe to show. */
export type Location =
  | { readonly kind: "http"; readonly url: URL; readonly label: string }
  | { readonly kind: "local"; readonly path: string; readonly label: string };

/** A configuration that was checked, with every default filled in. */
export interface CheckedConfig {
  readonly location: Location;
  readonly ref: string;
  readonly path: string;
  readonly storeDirectory: string;
  readonly limits: SourceLimits;
  readonly timeoutMs: number;
  readonly totalTimeoutMs: number;
  readonly allowRewrite: boolean;
}

const MiB = 1024 * 1024;

export const defaultLimits: SourceLimits = {
  packBytesMax: 256 * MiB,
  fileBytesMax: 32 * MiB,
  totalBytesMax: 64 * MiB,
  filesMax: 10_000,
  depthMax: 16,
};

/** Where the store of a state directory is. */
export function storeDirectoryOf(stateDirectory: string): string {
  return resolve(stateDirectory, "repository.git");
}

/** Checks everything that can be checked without touching disk or network; throws a stalled PenstockError. */
export function checkConfig(config: SourceConfig): CheckedConfig {
  const limits = { ...defaultLimits, ...config.limits };
  return {
    location: parseLocation(config.url),
    ref: checkRef(config.ref),
    path: checkPolicyPath(config.path),
    storeDirectory: storeDirectoryOf(config.stateDirectory),
    // Offsets in a pack index are kept below 2 GiB, where they need no second table.
    limits: { ...limits, packBytesMax: Math.min(limits.packBytesMax, 2 ** 31 - 1) },
    timeoutMs: config.timeoutMs ?? 15_000,
    totalTimeoutMs: config.totalTimeoutMs ?? 300_000,
    allowRewrite: config.allowRewrite ?? false,
  };
}

/** Tells an http(s) URL from a local path; refuses everything else, and every URL that carries a secret. */
export function parseLocation(text: string): Location {
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined) return parsePath(text);
  if (scheme === "file") return parseFileUrl(text);
  if (scheme !== "http" && scheme !== "https") {
    throw unsupportedTransport(text.replace(/\/\/[^/]*@/, "//"), scheme);
  }
  if (!URL.canParse(text)) throw urlInvalid("it cannot be parsed");
  const url = new URL(text);
  if (url.username !== "" || url.password !== "") throw credentialsInUrl(`${url.origin}${url.pathname}`);
  // A query is where access tokens hide, and Git over HTTP has its own use for it.
  if (url.search !== "" || url.hash !== "") throw urlInvalid("it has a query or a fragment");
  url.pathname = url.pathname.replace(/\/+$/, "");
  return { kind: "http", url, label: cleanText(`${url.origin}${url.pathname.replace(/^\/$/, "")}`, 300) };
}

function parsePath(text: string): Location {
  if (text === "" || text.includes("\0")) throw urlInvalid("it is empty or has a NUL in it");
  // Like Git: a colon before the first slash is the short form of ssh (`git@host:path`).
  if (/^[^/]+:/.test(text)) throw unsupportedTransport(text.replace(/^.*@/, ""), "ssh");
  const path = resolve(text);
  return { kind: "local", path, label: cleanText(path, 300) };
}

function parseFileUrl(text: string): Location {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.host !== "" && url.host !== "localhost")) {
    throw urlInvalid("a file URL has the form file:///absolute/path");
  }
  try {
    return parsePath(fileURLToPath(`file://${url.pathname}`));
  } catch (error) {
    throw urlInvalid(`it does not name a file (${error instanceof Error ? error.message : "unknown"})`);
  }
}

function checkRef(ref: string): string {
  // Git's rules for ref names, closed against everything that means something to a path or a terminal.
  const bad = /^\/|(^|\/)(\.|-|$)|\.\.|\/\/|\.lock(\/|$)|@\{|^@$|\.$|[\s~^:?*[\\\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;
  if (ref === "" || ref.length > 255 || bad.test(ref)) throw refInvalid(cleanText(ref));
  return ref;
}

function checkPolicyPath(path: string): string {
  if (isAbsolute(path)) throw policyPathInvalid(cleanText(path), "it is absolute");
  const trimmed = path.replace(/\/+$/, "");
  if (trimmed === "" || trimmed === ".") return "";
  for (const part of trimmed.split("/")) {
    if (part === "..") throw policyPathInvalid(cleanText(path), "it leaves the repository");
    if (part === "" || part === "." || /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(part)) {
      throw policyPathInvalid(cleanText(path), "it has an empty part, a dot, or a control character");
    }
  }
  return trimmed;
}
