// What people read: text from outside made safe, and the forms of times, durations and counts.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { alignColumns, makeStyle } from "../../src/cli/style.ts";
import {
  formatCount,
  formatMs,
  formatSince,
  formatTime,
  plain,
  plainLines,
  safeJson,
} from "../../src/cli/text.ts";

describe("plain", () => {
  const rows = [
    {
      name: "leaves words alone",
      text: "Let the office in: ä, 日本, 🚰",
      shown: "Let the office in: ä, 日本, 🚰",
    },
    {
      name: "an escape sequence loses its escape",
      text: "\u001b[31mred\u001b]0;title\u0007",
      shown: "\ufffd[31mred\ufffd]0;title\ufffd",
    },
    { name: "C1 controls too", text: "\u009b2J", shown: "\ufffd2J" },
    { name: "text cannot be turned around", text: "safe\u202etxt.exe", shown: "safe\ufffdtxt.exe" },
    { name: "a line stays one line", text: "one\ntwo\r\nthree\u2028four", shown: "one two three four" },
    { name: "half a character is none", text: "a\ud800b", shown: "a\ufffdb" },
  ];
  test.each(rows)("$name", ({ text, shown }) => {
    expect(plain(text)).toBe(shown);
  });

  test("nothing that steers a terminal comes through, whatever comes in", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(plain(text)).not.toMatch(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/u);
        expect(plainLines(text).join("\n")).not.toMatch(/[^\P{Cc}\n]/u);
      }),
    );
  });
});

test("JSON is the same value and holds no character that a terminal acts on", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = safeJson(value);
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
      expect(text).not.toMatch(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/u);
    }),
  );
});

test("times, durations and counts have one form each", () => {
  expect(formatTime("2026-11-03T10:12:33.123Z")).toBe("2026-11-03 10:12:33Z");
  expect(formatTime("\u001b[2J")).toBe("\ufffd[2J");
  expect([119_000, 7_140_000, 172_000_000, 400_000_000].map((ms) => formatSince(0, ms))).toEqual([
    "119 s",
    "119 min",
    "48 h",
    "5 days",
  ]);
  expect(formatSince(5_000, 1_000)).toBe("0 s");
  expect([0.0123, 1.25, 176.4, 1240, 253_000].map(formatMs)).toEqual([
    "0.012 ms",
    "1.3 ms",
    "176 ms",
    "1.2 s",
    "253 s",
  ]);
  expect([0, 999, 1000, 1_000_000].map(formatCount)).toEqual(["0", "999", "1,000", "1,000,000"]);
});

test("columns are as wide as their text, whatever paints it", () => {
  const style = makeStyle(true);
  const lines = alignColumns(
    [
      ["a", { text: "bb", paint: style.red }, "c"],
      ["aaa", "b", "c"],
    ],
    { right: [1], indent: 2 },
  );
  expect(lines).toEqual(["  a    \u001b[31mbb\u001b[39m  c", "  aaa   b  c"]);
  expect(makeStyle(false).red("bb")).toBe("bb");
});
