// The countries of an address set: their networks in the database that the agent is configured with.
import { addPrefix, type CompileContext } from "../../compile/index.ts";
import { dayOf } from "../../geo/index.ts";
import type { PolicyDocument } from "../../policy/index.ts";

const dayMs = 24 * 60 * 60 * 1000;

/** Adds the networks of the document's countries to the set; what is in the way is reported. */
export function addCountries(
  context: CompileContext,
  document: PolicyDocument<"AddressSet">,
  setId: number,
): void {
  const { countries } = document.spec;
  if (countries === undefined) return;
  const at = { document, path: ["spec", "countries"] };
  const geo = context.geo();
  switch (geo.kind) {
    case "missing": {
      const message =
        "countries need a database, and none is configured on this host; name a MaxMind file (GeoLite2-Country.mmdb, say) as geo.database in the agent's configuration";
      context.report(at, "error", "no-geo-database", message);
      return;
    }
    case "unusable": {
      const message = `the database of countries ${geo.path} cannot be used: ${geo.reason}; put a MaxMind file with countries there, or correct geo.database in the agent's configuration`;
      context.report(at, "error", "bad-geo-database", message);
      return;
    }
    case "unasked": {
      const message =
        "without a database nobody knows whether these countries have networks; give one with --geo";
      context.report(at, "warning", "countries-unchecked", message);
      return;
    }
    case "ready":
      break;
  }
  const { database, maxAgeDays } = geo;
  if (context.now - database.builtAt > maxAgeDays * dayMs) {
    const message = `the database of countries is old: it was built on ${dayOf(database.builtAt)}, more than ${maxAgeDays} days ago (geo.maxAgeDays); put a newer one there`;
    context.report(at, "warning", "old-geo-database", message);
  }
  countries.forEach((country, i) => {
    if (database.has(country)) return;
    const message = `the database of countries knows no network in ${country}; see whether it is the code that you mean`;
    context.report({ document, path: [...at.path, i] }, "warning", "unknown-country", message);
  });
  const origin = context.origin(at);
  for (const prefix of database.prefixesOf(countries)) addPrefix(context, setId, prefix, origin);
}
