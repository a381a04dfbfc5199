// Commits: what hostile ones turn into, and that ancestry and history agree with a slow, plain definition.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import {
  expandCommit,
  isAncestor,
  listHistory,
  parseCommit,
  peelToCommit,
} from "../../src/source/commits.ts";
import { ObjectDatabase } from "../../src/source/objects.ts";
import { Pace } from "../../src/source/pace.ts";
import { emptyTree, LooseObjects, objectId } from "../fixtures/git-pack.ts";

const root = mkdtempSync(join(tmpdir(), "penstock-commits-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const store = new LooseObjects(join(root, "objects"));

async function withGraph<T>(
  work: (graph: Parameters<typeof isAncestor>[0]) => T,
  cut: string[] = [],
): Promise<Awaited<T>> {
  const objects = new ObjectDatabase(store.folder, 1 << 20);
  try {
    return await work({ objects, cut: new Set(cut), pace: new Pace(new AbortController().signal) });
  } finally {
    objects.close();
  }
}

const id = "1".repeat(40);
const commitText = (head: string, message: string | Buffer) =>
  Buffer.concat([Buffer.from(`tree ${emptyTree}\n${head}\n\n`), Buffer.from(message)]);
const people = "author A B <a@b> 1700000000 +0100\ncommitter C <c@d> 1700000001 -0330";

describe("parseCommit", () => {
  it("reads a plain one", () => {
    const head = `parent ${"2".repeat(40)}\nparent ${"3".repeat(40)}\n${people}\nencoding UTF-8`;
    expect(parseCommit(id, commitText(head, "Subject line\n\nBody\n"))).toEqual({
      commit: id,
      tree: emptyTree,
      parents: ["2".repeat(40), "3".repeat(40)],
      author: { name: "A B", email: "a@b", timestampS: 1_700_000_000 },
      committer: { name: "C", email: "c@d", timestampS: 1_700_000_001 },
      subject: "Subject line",
    });
  });

  it.each<[string, string | Buffer, string]>([
    ["escapes in the subject", "\x1b[31mred\x1b]8;;x\x07", "[31mred]8;;x"],
    ["overrides in the subject", "a\u202eb\u200bc", "abc"],
    ["a carriage return", "first\rsecond\nthird", "firstsecond"],
    ["a very long subject", "x".repeat(100_000), "x".repeat(200)],
    ["no message", "", ""],
    ["empty lines first", "\n\n  Subject\nbody", "Subject"],
    ["bytes that are not UTF-8", Buffer.from([0x61, 0xff, 0x9b, 0x62]), "a\ufffd\ufffdb"],
  ])("cleans %s", (_, message, subject) => {
    expect(parseCommit(id, commitText(people, message)).subject).toBe(subject);
  });

  it.each([
    ["no people", "", { name: "", email: "", timestampS: 0 }],
    ["no time", "author A <a@b>", { name: "A <a@b>", email: "", timestampS: 0 }],
    ["a time beyond all years", `author A <a@b> ${"9".repeat(30)} +0000`, { email: "", timestampS: 0 }],
    ["a time before 1970", "author A <a@b> -5 +0000", { name: "A", email: "a@b", timestampS: -5 }],
    [
      "escapes in a name",
      "author \x1b[1mA\u202e <a\x07@b> 1 +0000",
      { name: "[1mA", email: "a@b", timestampS: 1 },
    ],
  ])("makes the best of %s", (_, head, author) => {
    expect(parseCommit(id, commitText(head, "x")).author).toMatchObject(author);
  });

  it("takes no parent from the message or after another header", () => {
    const text = commitText(`${people}\nparent ${id}`, `x\nparent ${id}\n`);
    expect(parseCommit(id, text).parents).toEqual([]);
  });

  it.each(["", "tree xyz\n", `parent ${id}\n`, `tree ${id.slice(1)}\n\n`])(
    "refuses one without a tree: %j",
    (text) => {
      expect(() => parseCommit(id, Buffer.from(text))).toThrow(/names no tree/);
    },
  );
});

describe("tags", () => {
  const tag = (target: string, type: string) =>
    store.write("tag", Buffer.from(`object ${target}\ntype ${type}\ntag v1\ntagger A <a@b> 1 +0000\n\nx\n`));

  it("are followed to the commit, also one tag after another", async () => {
    const commit = store.commit([]);
    const nested = tag(tag(commit, "commit"), "tag");
    expect(await withGraph(({ objects }) => peelToCommit(objects, nested, "v1"))).toBe(commit);
  });

  it("are refused when they name no commit or go on and on", async () => {
    const ofTree = tag(store.tree([]), "tree");
    let deep = store.commit([]);
    for (let i = 0; i < 20; i++) deep = tag(deep, "tag");
    for (const oid of [ofTree, deep, store.blob("x"), store.write("tag", Buffer.from("nonsense"))]) {
      await expect(withGraph(({ objects }) => peelToCommit(objects, oid, "v1"))).rejects.toMatchObject({
        code: "ref-not-commit",
      });
    }
  });
});

describe("abbreviated ids", () => {
  it("stand for the one commit that starts with them", async () => {
    const commits = Array.from({ length: 20 }, (_, i) => store.commit([], i, `number ${i}`));
    await withGraph(({ objects }) => {
      for (const commit of commits) {
        expect(expandCommit(objects, commit)).toBe(commit);
        expect(expandCommit(objects, commit.slice(0, 12))).toBe(commit);
      }
      expect(expandCommit(objects, store.blob("no commit"))).toBeUndefined();
      expect(expandCommit(objects, "0123456789abcdef")).toBeUndefined();
    });
  });

  it("are refused if they stand for two commits, not if for a commit and something else", async () => {
    const firstFour = (oid: string) => oid.slice(0, 4);
    const seen = new Map<string, string>();
    const text = (i: number) => Buffer.from(`tree ${emptyTree}\n${people}\n\nnumber ${i}\n`);
    let twins: [string, string] | undefined;
    for (let i = 0; twins === undefined; i++) {
      const subject = text(i).toString();
      const prefix = firstFour(objectId("commit", text(i)));
      const other = seen.get(prefix);
      if (other !== undefined) twins = [other, subject];
      seen.set(prefix, subject);
    }
    const [one, two] = twins.map((content) => store.write("commit", Buffer.from(content)));
    let blobText = 0;
    while (firstFour(objectId("blob", Buffer.from(`${blobText}`))) !== firstFour(one!)) blobText++;
    const blob = store.blob(`${blobText}`);
    await withGraph(({ objects }) => {
      expect(() => expandCommit(objects, firstFour(one!))).toThrow(/Cannot tell which commit/);
      const common = [...one!].findIndex((digit, i) => digit !== two![i]);
      expect(expandCommit(objects, two!.slice(0, Math.max(common + 1, 8)))).toBe(two);
      expect(expandCommit(objects, blob)).toBeUndefined();
    });
  });
});

/** Random histories: each commit has up to three parents among those before it; clocks are anything. */
const histories = fc.array(fc.tuple(fc.uniqueArray(fc.nat(30), { maxLength: 3 }), fc.nat(20)), {
  minLength: 1,
  maxLength: 14,
});

function build(plan: [number[], number][]): { ids: string[]; parents: Map<string, string[]> } {
  const ids: string[] = [];
  const parents = new Map<string, string[]>();
  for (const [i, [picks, time]] of plan.entries()) {
    const own = i === 0 ? [] : [...new Set(picks.map((pick) => ids[pick % i]!))];
    const oid = store.commit(own, time, `commit ${i}`);
    ids.push(oid);
    parents.set(oid, own);
  }
  return { ids, parents };
}

function ancestorsOf(tip: string, parents: ReadonlyMap<string, string[]>): Set<string> {
  const all = new Set([tip]);
  for (const oid of all) for (const parent of parents.get(oid) ?? []) all.add(parent);
  return all;
}

describe("ancestry", () => {
  it("agrees with the plain definition, for every pair", async () => {
    await fc.assert(
      fc.asyncProperty(histories, async (plan) => {
        const { ids, parents } = build(plan);
        await withGraph(async (graph) => {
          for (const tip of ids) {
            const all = ancestorsOf(tip, parents);
            for (const oid of ids) expect(await isAncestor(graph, oid, tip)).toBe(all.has(oid));
            const history = await listHistory(graph, tip, 1000);
            expect(new Set(history.map((h) => h.commit))).toEqual(all);
            expect(history).toHaveLength(all.size);
            expect(history[0]!.commit).toBe(tip);
          }
        });
      }),
      { numRuns: 15 },
    );
  });

  it("lists newest first, as many as asked for", async () => {
    const first = store.commit([], 100, "first");
    const left = store.commit([first], 200, "left");
    const right = store.commit([first], 300, "right");
    const merge = store.commit([left, right], 400, "merge");
    const subjects = (max: number) =>
      withGraph(async (g) => (await listHistory(g, merge, max)).map((h) => h.subject));
    expect(await subjects(10)).toEqual(["merge", "right", "left", "first"]);
    expect(await subjects(2)).toEqual(["merge", "right"]);
    expect(await subjects(0)).toEqual([]);
  });

  it("ends at the edge of a shallow clone instead of missing its parents", async () => {
    const edge = store.commit(["f".repeat(40)], 1);
    const tip = store.commit([edge], 2);
    const other = store.commit([], 9, "other");
    expect(await withGraph((g) => isAncestor(g, other, tip), [edge])).toBe(false);
    expect(await withGraph(async (g) => (await listHistory(g, tip, 9)).length, [edge])).toBe(2);
    await expect(withGraph((g) => isAncestor(g, other, tip))).rejects.toMatchObject({
      code: "source-corrupt",
    });
  });
});
