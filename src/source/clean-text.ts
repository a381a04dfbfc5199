// Text from a repository or a server is hostile: it can hold terminal escapes, and characters that make a line
// read differently from what it is. Everything that is shown or logged passes here first.

// Control and format characters (escapes, bidirectional overrides, zero-width), line and paragraph separators,
// lone surrogates, private use.
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]/gu;

/** Removes what is not plain text and cuts to `charactersMax` code points. */
export function cleanText(text: string, charactersMax = 200): string {
  // Cut first, so that a text of many megabytes costs nothing; twice, as a code point has at most two units.
  const plain = text.slice(0, charactersMax * 8).replace(unsafe, "");
  return plain.length <= charactersMax ? plain : Array.from(plain).slice(0, charactersMax).join("");
}

/** True if the text would come out of `cleanText` as it is, whatever its length. */
export function isPlainText(text: string): boolean {
  return text.search(unsafe) < 0;
}

/** At most `max` names for a message: `"a", "b" and 5 more`. */
export function listNames(names: readonly string[], max = 10): string {
  const shown = names.slice(0, max).map((name) => `"${cleanText(name, 80)}"`);
  const more = names.length - shown.length;
  return more > 0 ? `${shown.join(", ")} and ${more} more` : shown.join(", ");
}

/** Makes a function that takes the given secrets out of a text, in case a server sends them back. */
export function makeScrubber(secrets: readonly string[]): (text: string) => string {
  const forms = secrets.flatMap((s) => [
    s,
    encodeURIComponent(Buffer.from(s).toString()),
    cleanText(s, s.length),
  ]);
  // The longest first: one secret may be the start of another.
  const ordered = [...new Set(forms)].filter((s) => s !== "").sort((a, b) => b.length - a.length);
  return (text) => ordered.reduce((out, secret) => out.replaceAll(secret, "***"), text);
}
