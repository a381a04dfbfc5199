// What a configured ref means: branch, tag or commit, and the ambiguities that are refused.
import { expect, it } from "vitest";
import { type Ref, resolveRef } from "../../src/source/refs.ts";

const oid = (digit: string) => digit.repeat(40);

function directoryOf(...names: string[]) {
  const refs: Ref[] = names.map((name, i) => ({ name, oid: oid(String(i + 1)) }));
  return {
    lookup: async (wanted: readonly string[]) => refs.filter((r) => wanted.includes(r.name)),
    all: async () => refs.filter((r) => /^refs\/(heads|tags)\//.test(r.name)),
  };
}

function resolve(ref: string, ...names: string[]) {
  return resolveRef(directoryOf(...names), ref, { label: "repo", signal: new AbortController().signal });
}

it.each([
  ["a branch", "main", ["refs/heads/main", "refs/heads/main2"], "refs/heads/main"],
  ["a tag", "v1", ["refs/heads/main", "refs/tags/v1"], "refs/tags/v1"],
  ["a full name", "refs/heads/x", ["refs/heads/x", "refs/tags/x"], "refs/heads/x"],
  [
    "a full name that looks like a short one",
    "refs/tags/x",
    ["refs/tags/x", "refs/heads/refs/tags/x"],
    "refs/tags/x",
  ],
  ["HEAD", "HEAD", ["HEAD", "refs/heads/HEAD"], "HEAD"],
  ["a branch with slashes", "a/b", ["refs/heads/a/b"], "refs/heads/a/b"],
  ["a branch of few hex digits", "beef", ["refs/heads/beef"], "refs/heads/beef"],
])("finds %s", async (_, ref, names, found) => {
  expect(await resolve(ref, ...names)).toMatchObject({ kind: "ref", ref: { name: found } });
});

it("takes hex digits for a commit", async () => {
  expect(await resolve("0123abc", "refs/heads/main")).toEqual({ kind: "commit", prefix: "0123abc" });
  // Whoever makes a branch of this name gets nothing by it.
  expect(await resolve(oid("a"), `refs/heads/${oid("a")}`)).toEqual({ kind: "commit", prefix: oid("a") });
});

it.each([
  ["a branch and a tag of one name", "v1", ["refs/heads/v1", "refs/tags/v1"]],
  ["a branch that looks like a commit", "0123abc", ["refs/heads/0123abc"]],
  ["a tag that looks like a commit", "deadbeef", ["refs/tags/deadbeef"]],
])("refuses %s", async (_, ref, names) => {
  await expect(resolve(ref, ...names)).rejects.toMatchObject({
    code: "ref-ambiguous",
    disposition: "stalled",
  });
});

it("names at most ten branches when there is no such ref", async () => {
  const names = Array.from({ length: 12 }, (_, i) => `refs/heads/b${i}`);
  const error = await resolve("mian", ...names, "refs/tags/t").catch((e: unknown) => e);
  expect(error).toMatchObject({
    code: "ref-not-found",
    data: { ref: "mian", branches: names.slice(0, 10).map((n) => n.slice(11)) },
  });
  expect((error as Error).message).toMatch(/"b0", .*"b9" and 2 more$/);
});

it("tells an empty repository from a missing ref", async () => {
  await expect(resolve("main")).rejects.toMatchObject({ code: "repository-empty" });
  await expect(resolve("main", "refs/tags/t")).rejects.toMatchObject({ code: "ref-not-found" });
});
