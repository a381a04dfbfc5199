// When a word is suggested for another, and when none is.
import { describe, expect, test } from "vitest";
import { suggestWord } from "../../src/policy/index.ts";

const fields = ["sourcePorts", "destinationPorts", "source", "destination", "protocol", "family"];
const actions = ["pass", "drop", "log"];

describe("suggestWord", () => {
  test.each([
    { what: "a missing letter", written: "destinationPort", words: fields, nearest: "destinationPorts" },
    { what: "a swap", written: "portocol", words: fields, nearest: "protocol" },
    { what: "another case", written: "SOURCE", words: fields, nearest: "source" },
    { what: "signs between words", written: "source_ports", words: fields, nearest: "sourcePorts" },
    { what: "a short word's slip", written: "dorp", words: actions, nearest: "drop" },
    { what: "the first of equals", written: "lop", words: ["log", "lob"], nearest: "log" },
    { what: "another word", written: "reject", words: actions, nearest: undefined },
    { what: "a short word with nothing in common", written: "x", words: ["y", "z"], nearest: undefined },
    { what: "nothing", written: "", words: actions, nearest: undefined },
    { what: "no words", written: "pass", words: [], nearest: undefined },
    { what: "a text that is no word", written: "a".repeat(1e6), words: actions, nearest: undefined },
  ])("$what", ({ written, words, nearest }) => expect(suggestWord(written, words)).toBe(nearest));
});
