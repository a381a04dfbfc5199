// What parsePolicy hands on: which documents, frozen, in which order, where they stand, and within which limits.
import { describe, expect, test } from "vitest";
import { parsePolicy, selectForNode } from "../../src/policy/index.ts";
import { defaultPolicyLimits, formatCount } from "../../src/policy/limits.ts";
import { createLocator } from "../../src/policy/locator.ts";
import { readPolicyFile } from "../../src/policy/read.ts";
import { lines, parseTexts, policyFile } from "../fixtures/policy/support.ts";

const set = (name: string, prefixes = "[]", more = "") =>
  `apiVersion: penstock/v1\nkind: AddressSet\nmetadata: { name: ${name} }\nspec: { prefixes: ${prefixes}${more} }\n`;
const firewall = `apiVersion: penstock/v1
kind: Firewall
metadata:
  name: edge
spec:
  interfaces: [wan]
  rules:
    - name: first
      action: pass
    - name: second
      action: drop
      match:
        destinationPorts:
          - 22
          - "80-90"
        protocol: tcp
      log:   true
`;

describe("the set", () => {
  test("holds the documents of all files, and by kind sorted by name", () => {
    const { policy, diagnostics } = parseTexts({
      "b.yaml": `${set("z")}---\n${set("a")}`,
      "a.yml": firewall,
      "c.json": JSON.stringify({
        apiVersion: "penstock/v1",
        kind: "AddressSet",
        metadata: { name: "m" },
        spec: { prefixes: [] },
      }),
    });
    expect(diagnostics).toEqual([]);
    expect(policy.documents.map(({ kind, name, file }) => `${file} ${kind} ${name}`)).toEqual([
      "a.yml Firewall edge",
      "b.yaml AddressSet z",
      "b.yaml AddressSet a",
      "c.json AddressSet m",
    ]);
    expect(policy.byKind("AddressSet").map(({ name }) => name)).toEqual(["a", "m", "z"]);
    expect(policy.byKind("InterfaceGroup")).toEqual([]);
  });

  test("leaves out documents with errors and keeps their neighbours", () => {
    const { policy, diagnostics } = parseTexts({ "a.yaml": `${set("bad", "1")}---\n${set("good")}` });
    expect(policy.documents.map(({ name }) => name)).toEqual(["good"]);
    expect(diagnostics.map(({ code, line }) => `${line} ${code}`)).toEqual(["4 wrong-type"]);
  });

  test.each([
    ["a repeated field", set("a", "[]", ", nodes: {matchLabels: {a: b}}, nodes: {matchLabels: {a: b}}")],
    ["a tag", set("a", "[!!str 10.0.0.0/8]")],
    ["an escaped control character", set("a", '["10.0.0.0/8\\u0007"]')],
    ["an alias to nowhere", set("a", "[*b]")],
  ])("leaves out a document that fits its schema but has %s", (_what, text) => {
    const { policy, diagnostics } = parseTexts({ "a.yaml": text });
    expect(policy.documents).toEqual([]);
    expect(diagnostics).toHaveLength(1);
  });

  test("is frozen all the way down", () => {
    const { policy } = parseTexts({ "a.yaml": firewall });
    const isFrozen = (value: unknown): boolean =>
      typeof value !== "object" ||
      value === null ||
      (Object.isFrozen(value) && Object.values(value).every(isFrozen));
    expect(isFrozen(policy)).toBe(true);
    expect(Object.isFrozen(policy.byKind("Firewall"))).toBe(true);
  });

  test("keeps a field called __proto__ a field", () => {
    const document = (text: string) => text.replace("{ name: a }", '{ name: a, labels: { "__proto__": x } }');
    const json =
      '{"apiVersion":"penstock/v1","kind":"AddressSet","metadata":{"name":"b","labels":{"__proto__":"x"}},"spec":{"prefixes":[]}}';
    const { policy, diagnostics } = parseTexts({ "a.yaml": document(set("a")), "b.json": json });
    expect(diagnostics).toEqual([]);
    for (const { metadata } of policy.documents) {
      expect(Object.entries(metadata.labels ?? {})).toEqual([["__proto__", "x"]]);
    }
  });
});

describe("names", () => {
  test("are unique within a kind, over all files", () => {
    const { policy, diagnostics } = parseTexts({ "b.yaml": set("x"), "a.yaml": `---\n${set("x")}` });
    expect(diagnostics).toMatchObject([
      {
        file: "b.yaml",
        line: 3,
        column: 19,
        code: "duplicate-name",
        message: expect.stringContaining("a.yaml:4"),
      },
    ]);
    expect(policy.documents.map(({ file }) => file)).toEqual(["a.yaml"]);
  });

  test("may be the same in different kinds", () => {
    expect(parseTexts({ "a.yaml": `${set("edge")}---\n${firewall}` }).diagnostics).toEqual([]);
  });

  test("count in documents with errors too", () => {
    const { diagnostics } = parseTexts({ "a.yaml": `${set("x", "7")}---\n${set("x")}` });
    expect(diagnostics.map(({ code }) => code)).toEqual(["wrong-type", "duplicate-name"]);
  });
});

describe("locate", () => {
  const rows: { path: (string | number)[]; yaml: [number, number] }[] = [
    { path: [], yaml: [1, 1] },
    { path: ["metadata", "name"], yaml: [4, 9] },
    { path: ["spec", "rules", 0], yaml: [8, 7] },
    { path: ["spec", "rules", 1], yaml: [10, 7] },
    { path: ["spec", "rules", 1, "match"], yaml: [13, 9] },
    { path: ["spec", "rules", 1, "match", "destinationPorts", 1], yaml: [15, 13] },
    { path: ["spec", "rules", 1, "match", "protocol"], yaml: [16, 19] },
    { path: ["spec", "rules", 1, "log"], yaml: [17, 14] },
    { path: ["spec", "rules", 1, "match", "source", "sets", 3], yaml: [13, 9] },
    { path: ["spec", "rules", 9], yaml: [8, 5] },
    { path: ["nothing", "of", "this"], yaml: [1, 1] },
  ];
  test.each(rows)("$path", ({ path, yaml: [line, column] }) => {
    const { policy } = parseTexts({ "a.yaml": `${firewall}---\n${set("other")}`, "b.yaml": set("b") });
    expect(policy.byKind("Firewall")[0]?.locate(path)).toEqual({ file: "a.yaml", line, column });
  });

  test("tells documents of one file apart, and counts lines ended by CR LF", () => {
    const { policy } = parseTexts({
      "a.yaml": `# first\n${set("a")}---\n${set("b")}`.replaceAll("\n", "\r\n"),
    });
    expect(policy.documents.map((d) => d.locate(["spec", "prefixes"]))).toEqual([
      { file: "a.yaml", line: 5, column: 19 },
      { file: "a.yaml", line: 10, column: 19 },
    ]);
  });

  test("finds the place where an alias stands, and beyond it the anchor's", () => {
    const text = set("a").replace("{ name: a }", "{ name: a, labels: &m { c: d }, annotations: *m }");
    const [document] = parseTexts({ "a.yaml": text }).policy.documents;
    expect(document?.locate(["metadata", "annotations"])).toMatchObject({ line: 3, column: 56 });
    expect(document?.locate(["metadata", "annotations", "c"])).toMatchObject({ line: 3, column: 38 });
  });

  test("reads a file again when its positions were given up, with the same result", () => {
    const files = [policyFile("a.yaml", firewall), policyFile("b.yaml", set("b"))];
    const locator = createLocator(defaultPolicyLimits, 1);
    for (const file of files) locator.keep(file, readPolicyFile(file, defaultPolicyLimits));
    for (let round = 0; round < 2; round++) {
      expect(locator.locate(files[0]!, 0, ["spec", "rules", 1, "match"])).toMatchObject({
        line: 13,
        column: 9,
      });
      expect(locator.locate(files[1]!, 0, ["spec", "prefixes"])).toMatchObject({ line: 4, column: 19 });
    }
  });
});

test("positions are kept for the files read last, within a budget of their bytes", () => {
  const readings: string[] = [];
  const files = ["a", "b", "c"].map((name) => {
    const { content } = policyFile("", set(name));
    return {
      path: `${name}.yaml`,
      get content() {
        readings.push(name);
        return content;
      },
    };
  });
  const locator = createLocator(defaultPolicyLimits, 2.5 * set("a").length);
  for (const file of files) locator.keep(file, readPolicyFile(file, defaultPolicyLimits));
  const readBy = (file: (typeof files)[number]) => {
    readings.length = 0;
    locator.locate(file, 0, ["spec"]);
    return [...new Set(readings)];
  };
  const [a, b, c] = files;
  expect([readBy(b!), readBy(c!), readBy(a!), readBy(a!), readBy(c!), readBy(b!)]).toEqual([
    [],
    [],
    ["a"],
    [],
    [],
    ["b"],
  ]);
});

describe("selectForNode", () => {
  const policy = parseTexts({
    "a.yaml": [
      set("all"),
      set("edge", "[]", ", nodes: { matchLabels: { role: edge } }"),
      set("both", "[]", ", nodes: { matchLabels: { role: edge, site: a } }"),
      set("strange", "[]", ", nodes: { matchLabels: { constructor: x } }"),
    ].join("---\n"),
  }).policy;
  test.each([
    { labels: {}, names: ["all"] },
    { labels: { role: "core" }, names: ["all"] },
    { labels: { role: "edge" }, names: ["all", "edge"] },
    { labels: { role: "edge", site: "b" }, names: ["all", "edge"] },
    { labels: { role: "edge", site: "a", more: "x" }, names: ["all", "edge", "both"] },
  ])("$labels", ({ labels, names }) => {
    const selected = selectForNode(policy, labels as Record<string, string>);
    expect(selected.documents.map(({ name }) => name)).toEqual(names);
    expect(selected.byKind("AddressSet").map(({ name }) => name)).toEqual([...names].sort());
  });
});

describe("files", () => {
  test.each([
    { path: "a.yaml", outcome: ["missing-field"] },
    { path: "A.YML", outcome: ["missing-field"] },
    { path: "a.json", outcome: ["missing-field"] },
    { path: "README.md", outcome: [] },
    { path: "notes.txt", outcome: [] },
    { path: "CODEOWNERS", outcome: [] },
    { path: ".github/x.yaml", outcome: [] },
    { path: ".hidden.yaml", outcome: [] },
    { path: "a.yaml.bak", outcome: ["ignored-file"] },
  ])("$path is read, ignored or warned about", ({ path, outcome }) => {
    expect(parseTexts({ [path]: '{ "a": 1 }' }).diagnostics.map(({ code }) => code)).toEqual(outcome);
  });

  test("may begin with a byte order mark, which moves no position", () => {
    const { policy, diagnostics } = parseTexts({ "a.yaml": `\ufeff${set("a")}` });
    expect(diagnostics).toEqual([]);
    expect(policy.documents[0]?.locate([])).toEqual({ file: "a.yaml", line: 1, column: 1 });
    expect(parseTexts({ "a.json": '\ufeff{ "a": 1 }' }).diagnostics.map((d) => d.column)).toEqual([1]);
  });

  test("are taken in the order of their paths, whatever the caller's order", () => {
    const files = ["c", "a", "b"].map((name) => policyFile(`${name}.yaml`, set(name, "1")));
    expect(parsePolicy(files).diagnostics.map(({ file }) => file)).toEqual(["a.yaml", "b.yaml", "c.yaml"]);
  });
});

describe("limits", () => {
  const many = (count: number) => `[${Array.from({ length: count }, () => "10.0.0.0/8").join(", ")}]`;
  const json = (value: unknown) => JSON.stringify(value);
  const wide = Object.fromEntries(Array.from({ length: 6 }, (_, i) => [`k${i}`, i]));
  const rows = [
    { what: "list entries", limits: { itemsMax: 9 }, bad: many(10), good: many(9) },
    {
      what: "fields of a mapping",
      limits: { fieldsMax: 5 },
      bad: json(wide),
      good: json({ ...wide, k5: undefined }),
    },
    { what: "fields altogether", limits: { itemsMax: 9 }, bad: json([wide, wide]), good: json([wide]) },
    { what: "depth", limits: { depthMax: 3 }, bad: "[[[[]]]]", good: "[[[]]]" },
    {
      what: "depth of mappings",
      limits: { depthMax: 3 },
      bad: '{"a":{"a":{"a":{}}}}',
      good: '{"a":{"a":{}}}',
    },
    { what: "bytes", limits: { bytesMax: 9 }, bad: "1234567890", good: "123456789" },
  ];
  test.each(rows)("$what", ({ limits, bad, good }) => {
    for (const name of ["a.json", "a.yaml"]) {
      const quoted = (text: string) =>
        name === "a.json" ? text.replaceAll("10.0.0.0/8", '"10.0.0.0/8"') : text;
      expect(parseTexts({ [name]: quoted(bad) }, limits).diagnostics[0]?.code).toMatch(/^too-(large|deep)$/);
      expect(parseTexts({ [name]: quoted(good) }, limits).diagnostics[0]?.code).not.toMatch(
        /^too-(large|deep)$/,
      );
    }
  });

  test("what aliases unfold to counts", () => {
    const text = `a: &a [1, 2, 3]\nb: &b [*a, *a]\nc: [*b, *b]\n`;
    // 3 + 2 + (2 times 3) + 2 + 2 times (2 + 6)
    expect(parseTexts({ "a.yaml": text }, { itemsMax: 28 }).diagnostics[0]?.code).toBe("too-large");
    expect(parseTexts({ "a.yaml": text }, { itemsMax: 29 }).diagnostics[0]?.code).toBe("missing-field");
    expect(parseTexts({ "a.yaml": text }, { depthMax: 3 }).diagnostics[0]?.code).toBe("too-deep");
    expect(parseTexts({ "a.yaml": text }, { depthMax: 4 }).diagnostics[0]?.code).toBe("missing-field");
  });

  test("a file with twenty thousand mistakes tells a thousand, and how many more", () => {
    for (const name of ["a.json", "a.yaml"]) {
      const prefixes = JSON.stringify(Array.from({ length: 20_000 }, () => "x"));
      const text = JSON.stringify({ apiVersion: "penstock/v1", kind: "AddressSet", metadata: {}, spec: {} });
      const { diagnostics } = parseTexts({
        [name]: text.replace('"spec":{}', `"spec":{"prefixes":${prefixes}}`),
      });
      expect(diagnostics).toHaveLength(1001);
      expect(diagnostics[0]?.code).toBe("missing-field");
      expect(diagnostics.at(-1)).toMatchObject({
        code: "too-many-findings",
        message: expect.stringMatching(/^19,001 more findings/),
      });
    }
  });

  test.each([
    [0, "0"],
    [999, "999"],
    [1000, "1,000"],
    [1234567, "1,234,567"],
  ])("%d is written %s", (count, text) => expect(formatCount(count)).toBe(text));
});

test("findings of several files and documents are all told, in order", () => {
  const parsed = parseTexts({ "b.yaml": set("b", "1"), "a.yaml": `${set("A")}---\n${set("a", "2")}` });
  expect(lines(parsed).map((line) => line.split(" ").slice(0, 3).join(" "))).toEqual([
    "a.yaml:3:19 error bad-name",
    "a.yaml:9:19 error wrong-type",
    "b.yaml:4:19 error wrong-type",
  ]);
});
