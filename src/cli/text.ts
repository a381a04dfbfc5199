// Words for people: times, durations, counts, and text from outside made safe to show. Pure.

/**
 * Text from a repository, the kernel or a server must neither steer the terminal nor read otherwise than it is:
 * control characters, direction marks and lone surrogates become U+FFFD, line ends a space.
 */
export function plain(text: string): string {
  return text
    .replace(/\r\n|[\t\n\r\u2028\u2029]/g, " ")
    .replace(/[\p{Cc}\p{Surrogate}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu, "\ufffd");
}

/** The same for text of several lines, which stay lines. */
export function plainLines(text: string): string[] {
  return text.split(/\r\n|[\n\r\u2028\u2029]/).map((line) => plain(line.replaceAll("\t", "  ")));
}

/** JSON that is safe on a terminal: what JSON itself leaves alone above U+007E is escaped where it could deceive. */
export function safeJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(
    /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** `1,000,000`: the same on every machine whatever its locale. */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `1 error`, `2 errors`. */
export function countOf(count: number, noun: string, plural = `${noun}s`): string {
  return `${formatCount(count)} ${count === 1 ? noun : plural}`;
}

/** `2026-11-03 10:12:33Z` of an RFC 3339 time. */
export function formatTime(time: string): string {
  const match = /^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})/.exec(time);
  return match === null ? plain(time) : `${match[1]} ${match[2]}Z`;
}

/** `12 min` between two times in milliseconds. */
export function formatSince(fromMs: number, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - fromMs) / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** `0.012 ms`, `34 ms`, `1.2 s`: three significant digits at most. */
export function formatMs(ms: number): string {
  if (ms >= 1000) return `${(ms / 1000).toFixed(ms >= 100_000 ? 0 : 1)} s`;
  if (ms >= 100) return `${ms.toFixed(0)} ms`;
  if (ms >= 1) return `${ms.toFixed(1)} ms`;
  return `${ms.toFixed(3)} ms`;
}

/** The first twelve digits of a commit. */
export function shortCommit(commit: string): string {
  return commit.slice(0, 12);
}
