// Countries of IP addresses, from a MaxMind file that the user gives. Bytes in, networks out: reads no file itself.
export { CountryDatabase } from "./countries.ts";
export { dayOf, type Geo, type GeoFile, type GeoLookup, openGeo } from "./lookup.ts";
