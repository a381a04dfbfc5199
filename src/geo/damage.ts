// The one error for a file that is no use as a country database.
import { PenstockError } from "../base/index.ts";

/** A `geo-database-unusable` that says what is the matter with the content: `it is ...`. */
export function damaged(reason: string, cause?: unknown): PenstockError {
  return new PenstockError({
    code: "geo-database-unusable",
    disposition: "stalled",
    message: `Cannot use the country database: ${reason}`,
    remedy: "Put a MaxMind file with countries in its place, such as GeoLite2-Country.mmdb",
    ...(cause === undefined ? {} : { cause }),
  });
}
