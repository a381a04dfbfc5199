// When a rule ends: by the clock, without a commit.

/** Milliseconds since the epoch from which the rule is out of force; undefined if the date does not exist. */
export function expiryOf(expires: string): number | undefined {
  const day = /^\d{4}-\d{2}-\d{2}$/.test(expires);
  const instant = Date.parse(day ? `${expires}T00:00:00Z` : expires);
  if (Number.isNaN(instant)) return undefined;
  // 2027-02-30 parses as 2 March: a date that does not come back as it was does not exist.
  if (new Date(instant).toISOString().slice(0, 10) !== expires.slice(0, 10)) return undefined;
  return day ? instant + 24 * 60 * 60 * 1000 : instant;
}

/** Whether a rule's time is over; a day counts up to its end in UTC. */
export function isExpired(expires: string | undefined, now: number): boolean | "invalid" {
  if (expires === undefined) return false;
  const end = expiryOf(expires);
  return end === undefined ? "invalid" : now >= end;
}
