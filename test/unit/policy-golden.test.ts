// Holds the findings for a folder of bad files, word for word: test/fixtures/policy/bad/<file>.txt. After a
// deliberate change of words run vitest with --update and read the difference.
import { describe, expect, test } from "vitest";
import { parsePolicy, policyCodes } from "../../src/policy/index.ts";
import { lines, pathOf, readFolder } from "../fixtures/policy/support.ts";

const folder = "test/fixtures/policy/bad";
const files = readFolder(folder).filter(({ path }) => !path.endsWith(".txt"));

describe("the findings of", () => {
  test.each(files)("$path", async (file) => {
    const text = `${lines(parsePolicy([file])).join("\n")}\n`;
    await expect(text).toMatchFileSnapshot(pathOf(`${folder}/${file.path}.txt`));
  });
});

/** Codes that need more than a policy file of reasonable size; other tests produce them. */
const elsewhere = ["too-many-findings", "invalid-document"];
const configurationOnly = [
  "bad-cron",
  "bad-path",
  "bad-ref",
  "bad-url",
  "bad-variable",
  "conflicting-fields",
];

test("every code is the finding of some bad file", () => {
  const found = new Set(files.flatMap((file) => parsePolicy([file]).diagnostics.map(({ code }) => code)));
  const missing = policyCodes.filter((code) => !found.has(code));
  expect(missing.sort()).toEqual([...elsewhere, ...configurationOnly].sort());
});

test("no finding is longer than a screen's line or two, and each is one line", () => {
  for (const { message } of files.flatMap((file) => parsePolicy([file]).diagnostics)) {
    expect(message).not.toMatch(/\n|\.$/);
    expect(message.length).toBeLessThan(300);
  }
});
