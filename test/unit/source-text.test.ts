// Hostile text: what is left of escapes and invisible characters, and that secrets are taken out of quotes.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cleanText, isPlainText, listNames, makeScrubber } from "../../src/source/clean-text.ts";

describe("cleanText", () => {
  it.each([
    ["plain text", "Open port 22", "Open port 22"],
    ["terminal escapes", "a\x1b[31mb\x1b]0;title\x07", "a[31mb]0;title"],
    ["C1 escapes", "a\x9b31mb", "a31mb"],
    ["line ends", "a\r\nb\u2028c\u2029d", "abcd"],
    ["bidirectional overrides", "abc\u202etxt.exe\u2066", "abctxt.exe"],
    ["zero-width characters", "a\u200bb\ufeffc", "abc"],
    ["tags and private use", "a\u{e0041}b\ue000c", "abc"],
    ["other scripts and emoji", "Ärger 防火墙 🔥", "Ärger 防火墙 🔥"],
  ])("keeps or removes: %s", (_, text, clean) => {
    expect(cleanText(text)).toBe(clean);
  });

  it("never gives more than asked for, nor anything unsafe, and is idempotent", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "binary", maxLength: 100 }),
        fc.integer({ min: 1, max: 50 }),
        (text, max) => {
          const clean = cleanText(text, max);
          expect(Array.from(clean).length).toBeLessThanOrEqual(max);
          expect(isPlainText(clean)).toBe(true);
          expect(cleanText(clean, max)).toBe(clean);
        },
      ),
    );
  });

  it("does not cut a character in two", () => {
    expect(cleanText("🔥🔥🔥", 2)).toBe("🔥🔥");
  });
});

it("lists at most ten names and counts the rest", () => {
  expect(listNames(["a", "b\n"])).toBe('"a", "b"');
  expect(listNames(Array.from({ length: 12 }, (_, i) => `b${i}`))).toMatch(/"b9" and 2 more$/);
});

describe("makeScrubber", () => {
  it("takes out secrets as they are, escaped, and one inside another", () => {
    const scrub = makeScrubber(["p@ss/word", "p@ss/wordier"]);
    expect(scrub("x p@ss/word y p%40ss%2Fword z p@ss/wordier")).toBe("x *** y *** z ***");
  });

  it("leaves nothing of any secret in any text around it", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 4 }), fc.string(), fc.string(), (secret, before, after) => {
        fc.pre(!secret.includes("*"));
        expect(makeScrubber([secret])(`${before}${secret}${after}`)).not.toContain(secret);
      }),
    );
  });

  it("does nothing without secrets", () => {
    expect(makeScrubber(["", ""])("text")).toBe("text");
  });
});
