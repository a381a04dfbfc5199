// What compiling knows of countries: a database, or why there is none. Read when it is first asked for, since most
// policies never ask.
import { asPenstockError } from "../base/index.ts";
import { CountryDatabase } from "./countries.ts";

/** A database file as it was read: plain data, which another thread can be handed. */
export type GeoFile =
  | {
      readonly kind: "content";
      readonly path: string;
      /** Shared between threads rather than copied. */
      readonly content: Uint8Array;
      /** Hex SHA-256 of the content. */
      readonly sha256: string;
      /** Days after which policy is warned that the database is old. */
      readonly maxAgeDays: number;
    }
  | { readonly kind: "unreadable"; readonly path: string; readonly reason: string };

/** `missing`: nobody configured a database. `unasked`: policy is checked without one. */
export type GeoLookup =
  | {
      readonly kind: "ready";
      readonly path: string;
      readonly database: CountryDatabase;
      readonly maxAgeDays: number;
    }
  | { readonly kind: "unusable"; readonly path: string; readonly reason: string }
  | { readonly kind: "missing" }
  | { readonly kind: "unasked" };

export interface Geo {
  /** The same at every call. */
  lookUp(): GeoLookup;
  /** `GeoLite2-Country of 2026-11-20 (sha256 ...)`, if it was looked at and could be used. */
  used(): string | undefined;
}

/** Reads `file` at the first look. Without a file: `missing`, or what else it shall be. */
export function openGeo(file: GeoFile | undefined, without: "missing" | "unasked" = "missing"): Geo {
  let known: GeoLookup | undefined;
  return {
    lookUp() {
      known ??= file === undefined ? { kind: without } : read(file);
      return known;
    },
    used() {
      if (known?.kind !== "ready" || file?.kind !== "content") return undefined;
      const { type, builtAt } = known.database;
      return `${type} of ${dayOf(builtAt)} (sha256 ${file.sha256})`;
    },
  };
}

/** `2026-11-20`, in UTC. */
export function dayOf(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10);
}

function read(file: GeoFile): GeoLookup {
  if (file.kind === "unreadable") return { kind: "unusable", path: file.path, reason: file.reason };
  const { path, content, maxAgeDays } = file;
  try {
    return { kind: "ready", path, database: new CountryDatabase(content), maxAgeDays };
  } catch (thrown) {
    const error = asPenstockError(thrown);
    if (error.code !== "geo-database-unusable") throw error;
    const [, reason = error.message] = /^[^:]*: (.*)$/.exec(error.message) ?? [];
    return { kind: "unusable", path, reason };
  }
}
