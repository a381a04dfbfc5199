// Policy trees made to deceive: names, modes, shapes and sizes. What is taken, what is passed over, what is
// refused, each bound with its numbers, and that no refusal hands on an escape sequence.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PenstockError } from "../../src/base/index.ts";
import { defaultLimits, type SourceLimits } from "../../src/source/config.ts";
import { ObjectDatabase } from "../../src/source/objects.ts";
import { Pace } from "../../src/source/pace.ts";
import { type PolicyTree, parseTree, readPolicyTree } from "../../src/source/policy-tree.ts";
import { LooseObjects } from "../fixtures/git-pack.ts";

const root = mkdtempSync(join(tmpdir(), "penstock-tree-"));
const store = new LooseObjects(join(root, "objects"));
let objects: ObjectDatabase;
beforeAll(() => {
  objects = new ObjectDatabase(store.folder, 1 << 24);
});
afterAll(() => {
  objects.close();
  rmSync(root, { recursive: true, force: true });
});

const file = store.blob("kind: Firewall\n");

function read(tree: string, path = "", limits: Partial<SourceLimits> = {}): Promise<PolicyTree> {
  const pace = new Pace(new AbortController().signal);
  return readPolicyTree(objects, tree, { path, limits: { ...defaultLimits, ...limits }, pace });
}

async function refusal(work: Promise<unknown>): Promise<PenstockError> {
  const error = await work.then(
    () => new Error("was taken"),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof PenstockError)) throw error;
  expect(`${error.message} ${error.remedy}`).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  return error;
}

describe("what is taken", () => {
  it("takes policy files of any depth, ordered by path, and passes over the rest", async () => {
    const inner = store.tree([
      ["100644", "z.json", file],
      ["100755", "a.yml", file],
    ]);
    const hidden = store.tree([["120000", "link.yaml", file]]);
    const tree = store.tree([
      ["100644", ".hidden.yaml", file],
      ["40000", ".github", hidden],
      ["160000", ".module", "1".repeat(40)],
      ["100644", "README.md", file],
      ["100644", "X.YAML", file],
      ["100644", "b.yaml", file],
      ["100644", "b.yaml.orig", file],
      ["40000", "b", inner],
      ["100664", "c.yaml", file],
      ["100644", "yaml", file],
      ["100644", "ärger.yaml", file],
    ]);
    const result = await read(tree);
    expect(result.tree).toBe(tree);
    expect(result.files.map((f) => f.path)).toEqual([
      "b.yaml",
      "b/a.yml",
      "b/z.json",
      "c.yaml",
      "ärger.yaml",
    ]);
    expect(Buffer.from(result.files[0]!.content).toString()).toBe("kind: Firewall\n");
  });

  it("starts at the policy path: the rest of the repository may be anything", async () => {
    const policies = store.tree([["100644", "a.yaml", file]]);
    const team = store.tree([["40000", "net", policies]]);
    const tree = store.tree([
      ["120000", "link", file],
      ["100644", "a\x1b[2J", file],
      ["100644", "a\\b", file],
      ["40000", "team", team],
    ]);
    const result = await read(tree, "team/net");
    expect(result).toMatchObject({ tree: policies, files: [{ path: "team/net/a.yaml" }] });
  });

  it("takes an empty folder, and the empty tree that is nowhere stored", async () => {
    expect(await read("4b825dc642cb6eb9a060e54bf8d69288fbee4904")).toMatchObject({ files: [] });
  });
});

describe("what is refused inside the policy path", () => {
  it.each<[string, string | Buffer]>([
    ["an empty name", ""],
    ["a dot", "."],
    ["two dots", ".."],
    ["a slash", "a/b.yaml"],
    ["a way out", "../../etc/passwd"],
    ["a line end", "a\n.yaml"],
    ["an escape sequence", "\x1b]0;x\x07.yaml"],
    ["a C1 control", "a\u009b.yaml"],
    ["a bidirectional override", "a\u202elmay.exe"],
    ["a zero-width space", "a\u200b.yaml"],
    ["bytes that are not UTF-8", Buffer.from([0x61, 0xff, 0x2e, 0x79, 0x6d, 0x6c])],
    ["a name longer than any file system takes", `${"x".repeat(300)}.yaml`],
    ["a hidden name with an escape", ".a\x1b.yaml"],
  ])("name: %s", async (_, name) => {
    expect((await refusal(read(store.tree([["100644", name, file]])))).code).toBe("source-entry-refused");
  });

  it.each([
    ["a symbolic link", "120000", "a.yaml", /symbolic link/],
    ["a symbolic link that is no policy", "120000", "README", /symbolic link/],
    ["a submodule", "160000", "sub", /submodule/],
    ["a mode that does not exist", "100600", "a.yaml", /unknown type/],
    ["a device", "60000", "a.yaml", /unknown type/],
  ])("mode: %s", async (_, mode, name, why) => {
    const inner = store.tree([[mode, name, file]]);
    const error = await refusal(read(store.tree([["40000", "sub", inner]])));
    expect(error).toMatchObject({ code: "source-entry-refused", data: { path: `sub/${name}` } });
    expect(error.message).toMatch(why);
  });

  it("two entries of one name, and a folder that says it is a file", async () => {
    const twice = store.tree([
      ["100644", "a.yaml", file],
      ["100644", "a.yaml", store.blob("other")],
    ]);
    expect((await refusal(read(twice))).message).toMatch(/two entries/);
    const folder = store.tree([["100644", "x.yaml", store.tree([])]]);
    expect((await refusal(read(folder))).message).toMatch(/is a tree and not a file/);
  });
});

describe("the policy path itself", () => {
  const policies = store.tree([["100644", "a.yaml", file]]);
  const tree = store.tree([
    ["100644", "file", file],
    ["120000", "link", file],
    ["160000", "module", "1".repeat(40)],
    ["40000", "policies", policies],
    ["40000", "esc\x1b[31m", policies],
  ]);

  it.each([
    ["missing", "nowhere", "policy-path-missing", /no "nowhere"; folders there: "policies"/],
    ["missing further down", "policies/x/y", "policy-path-missing", /no "policies\/x"$/],
    ["a file", "file", "policy-path-missing", /"file" is a file/],
    ["below a file", "file/x", "policy-path-missing", /"file" is a file/],
    ["a symbolic link", "link", "source-entry-refused", /symbolic link/],
    ["a submodule", "module", "source-entry-refused", /submodule/],
  ])("is refused: %s", async (_, path, code, why) => {
    const error = await refusal(read(tree, path));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(why);
    expect(error.remedy).toBeTruthy();
  });

  it("is refused when the tree has it twice", async () => {
    const twice = store.tree([
      ["40000", "policies", policies],
      ["40000", "policies", store.tree([])],
    ]);
    expect((await refusal(read(twice, "policies"))).code).toBe("source-entry-refused");
  });
});

describe("limits", () => {
  const kib = store.blob("x".repeat(1024));
  const four = store.tree(["a", "b", "c", "d"].map((n) => ["100644", `${n}.yaml`, kib] as const));

  it.each<[string, Partial<SourceLimits>, number, number]>([
    ["fileBytesMax", { fileBytesMax: 1023 }, 1024, 1023],
    ["totalBytesMax", { totalBytesMax: 4095 }, 4096, 4095],
    ["filesMax", { filesMax: 3 }, 4, 3],
  ])("%s is exact", async (limit, limits, found, allowed) => {
    const error = await refusal(read(four, "", limits));
    expect(error).toMatchObject({ code: "source-limit", data: { limit: `limits.${limit}`, found, allowed } });
    const key = limit as keyof SourceLimits;
    expect((await read(four, "", { [key]: (limits[key] ?? 0) + 1 })).files).toHaveLength(4);
  });

  it("names the file that is too large", async () => {
    expect((await refusal(read(four, "", { fileBytesMax: 5 }))).message).toContain('"a.yaml"');
  });

  it("depthMax is exact", async () => {
    let tree = store.tree([["100644", "a.yaml", file]]);
    for (let i = 0; i < 4; i++) tree = store.tree([["40000", "d", tree]]);
    expect((await read(tree, "", { depthMax: 4 })).files).toHaveLength(1);
    expect((await refusal(read(tree, "", { depthMax: 3 }))).data).toMatchObject({
      limit: "limits.depthMax",
      found: 4,
    });
  });

  it("a tree that holds itself many times over ends at a limit, quickly", async () => {
    // 10^10 files out of eleven objects.
    let tree = store.tree(Array.from({ length: 10 }, (_, i) => ["100644", `${i}.txt`, file] as const));
    for (let i = 0; i < 9; i++) {
      tree = store.tree(Array.from({ length: 10 }, (_, n) => ["40000", `${n}`, tree] as const));
    }
    const error = await refusal(read(tree, "", { filesMax: 1000 }));
    expect(error).toMatchObject({ code: "source-limit", data: { allowed: 10_000 } });
  });

  it("does not read a file that is too large", async () => {
    const bomb = store.write("blob", Buffer.alloc(8 << 20));
    const before = process.memoryUsage().arrayBuffers;
    await refusal(read(store.tree([["100644", "a.yaml", bomb]]), "", { fileBytesMax: 1000 }));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 << 20);
  });
});

it.each([
  ["no NUL", Buffer.from("100644 name")],
  ["no space", Buffer.from("100644\0")],
  ["a short id", Buffer.concat([Buffer.from("100644 a\0"), Buffer.alloc(19)])],
  ["something after the last entry", Buffer.concat([Buffer.from("100644 a\0"), Buffer.alloc(21)])],
])("a tree object is damaged: %s", (_, content) => {
  expect(() => parseTree(content)).toThrow(/a tree is damaged/);
});
