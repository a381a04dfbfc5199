// Following a repository on a real Git server: what a push leads to, what a ref may be, what is cheap, and what
// is refused about history.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Revision } from "../../src/base/index.ts";
import { git, gitAsync } from "../fixtures/git-repository.ts";
import { errorOf, type PolicyHost, startPolicyHost } from "../fixtures/git-source.ts";

let host: PolicyHost;
beforeAll(async () => {
  host = await startPolicyHost();
});
afterAll(() => host.close());

const contents = (revision: Revision) =>
  Object.fromEntries(revision.files.map((f) => [f.path, Buffer.from(f.content).toString()]));

async function newRepository(files: Record<string, string> = { "policies/edge.yaml": "v: 1\n" }) {
  const repository = host.repository();
  const first = repository.work.commit(files, "First");
  await repository.work.push(repository.url);
  return { ...repository, first };
}

describe("a push", () => {
  it("is seen by poll, and is a revision by fetch", async () => {
    const { work, url, first } = await newRepository({ "policies/edge.yaml": "v: 1\n", "README.md": "x" });
    const { source, events } = host.open({ url, path: "policies" });
    expect(await source.poll()).toEqual({ commit: first, changed: true });
    const revision = await source.fetch();
    expect(revision).toEqual({
      commit: first,
      ref: "main",
      tree: work.git("rev-parse", "HEAD:policies"),
      author: { name: "Ada Author", email: "ada@example.org", timestampS: 1_700_000_000 },
      committer: { name: "Carl Committer", email: "carl@example.org", timestampS: 1_700_000_000 },
      subject: "First",
      files: [{ path: "policies/edge.yaml", content: Buffer.from("v: 1\n") }],
    });
    expect(await source.poll()).toEqual({ commit: first, changed: false });

    const second = work.commit(
      { "policies/edge.yaml": "v: 2\n", "policies/a/b.json": "{}" },
      "Second\n\nBody",
    );
    await work.push(url);
    expect(await source.poll()).toEqual({ commit: second, changed: true });
    // Asking does not read: it stays changed until it was fetched.
    expect(await source.poll()).toMatchObject({ changed: true });
    const next = await source.fetch();
    expect(next).toMatchObject({ commit: second, subject: "Second" });
    expect(contents(next)).toEqual({ "policies/a/b.json": "{}", "policies/edge.yaml": "v: 2\n" });
    expect(events).toEqual([]);
  });

  it("is remembered by the next process", async () => {
    const { url, first } = await newRepository();
    const one = host.open({ url });
    await one.source.fetch();
    await one.source.close();
    const two = host.open({ url, stateDirectory: one.state });
    expect(await two.source.poll()).toEqual({ commit: first, changed: false });
    host.server.requests.length = 0;
    expect(await two.source.fetch()).toMatchObject({ commit: first });
    expect(host.server.requests.map((r) => r.stage)).not.toContain("pack");
    expect(await two.source.history(10)).toHaveLength(1);
  });

  it("gives equal trees for equal policy, whatever else changes", async () => {
    const { work, url } = await newRepository();
    const { source } = host.open({ url, path: "policies" });
    const before = await source.fetch();
    work.commit({ "README.md": "changed" });
    await work.push(url);
    const after = await source.fetch();
    expect(after.commit).not.toBe(before.commit);
    expect(after.tree).toBe(before.tree);
  });

  it("brings only what is new", async () => {
    const noise = Array.from({ length: 200_000 }, (_, i) => (i * 7919) % 1_000_003).join(" ");
    const { work, url } = await newRepository({ "large.txt": noise, "a.yaml": "1" });
    const { source, state } = host.open({ url });
    await source.fetch();
    work.commit({ "a.yaml": "2" });
    await work.push(url);
    await source.fetch();
    const folder = join(state, "repository.git", "objects", "pack");
    const sizes = readdirSync(folder)
      .filter((n) => n.endsWith(".pack"))
      .map((n) => readFileSync(join(folder, n)).length);
    expect(sizes).toHaveLength(2);
    expect(Math.min(...sizes)).toBeLessThan(2000);
    expect(Math.max(...sizes)).toBeGreaterThan(100_000);
  });
});

describe("an idle poll", () => {
  it("is one small request", async () => {
    const { url } = await newRepository();
    const { source } = host.open({ url });
    await source.fetch();
    host.server.requests.length = 0;
    for (let i = 0; i < 5; i++) await source.poll();
    expect(host.server.requests.map((r) => r.stage)).toEqual(["refs", "refs", "refs", "refs", "refs"]);
    expect(Math.max(...host.server.requests.map((r) => r.bodyBytes))).toBeLessThan(200);
    expect(host.server.requests[0]!.headers["user-agent"]).toBe("penstock");
  });

  it("is none for a commit id", async () => {
    const { url, first } = await newRepository();
    const { source } = host.open({ url, ref: first });
    await source.fetch();
    host.server.requests.length = 0;
    expect(await source.poll()).toEqual({ commit: first, changed: false });
    expect(host.server.requests).toEqual([]);
  });
});

describe("the ref", () => {
  it("may be a branch with slashes, a full name, HEAD, either kind of tag", async () => {
    const { work, url, first } = await newRepository();
    work.git("branch", "team/net/prod", first);
    work.git("tag", "light", first);
    work.git("tag", "-a", "-m", "annotated", "v1", first);
    work.git("tag", "-a", "-m", "tag of a tag", "v1-again", "v1");
    work.commit({ "policies/edge.yaml": "v: 2\n" });
    await work.push(url, "main", "team/net/prod", "--tags");
    const head = work.git("rev-parse", "main");
    const wanted: [string, string][] = [
      ["team/net/prod", first],
      ["refs/heads/main", head],
      ["HEAD", head],
      ["light", first],
      ["v1", first],
      ["refs/tags/v1", first],
      ["v1-again", first],
    ];
    for (const [ref, commit] of wanted) {
      const { source } = host.open({ url, ref });
      expect(await source.poll(), ref).toEqual({ commit, changed: true });
      expect(await source.fetch(), ref).toMatchObject({ commit, ref });
      expect(await source.poll(), ref).toEqual({ commit, changed: false });
    }
  });

  it("may be a commit that no branch ends at, whole or abbreviated", async () => {
    const { work, url, first } = await newRepository();
    work.commit({ "policies/edge.yaml": "v: 2\n" });
    await work.push(url);
    for (const ref of [first, first.slice(0, 7), first.slice(0, 20)]) {
      const { source } = host.open({ url, ref });
      expect(await source.poll(), ref).toMatchObject({ commit: first, changed: true });
      expect(await source.fetch(), ref).toMatchObject({ commit: first, ref });
      expect(await source.poll(), ref).toEqual({ commit: first, changed: false });
    }
  });

  it("is refused if nothing has it, naming the branches there are", async () => {
    const { work, url, first } = await newRepository();
    for (let i = 10; i < 22; i++) work.git("branch", `b${i}`, first);
    await work.push(url, "--all");
    const { source } = host.open({ url, ref: "master" });
    for (const work of [() => source.poll(), () => source.fetch()]) {
      const error = await errorOf(work());
      expect(error).toMatchObject({ code: "ref-not-found", disposition: "stalled" });
      expect(error.message).toMatch(/"b10", .*"b19" and 3 more/);
    }
    for (const ref of ["f".repeat(40), "fffffff"]) {
      expect((await errorOf(host.open({ url, ref }).source.fetch())).code).toBe("ref-not-found");
    }
  });

  it("is refused if it can mean two things, or no commit", async () => {
    const { work, url, first } = await newRepository();
    work.git("branch", "both", first);
    work.git("tag", "both", first);
    work.git("branch", "abcdef1", first);
    work.git("tag", "folder", `${first}^{tree}`);
    await work.push(url, "--all");
    await work.push(url, "--tags");
    expect((await errorOf(host.open({ url, ref: "both" }).source.poll())).code).toBe("ref-ambiguous");
    expect((await errorOf(host.open({ url, ref: "abcdef1" }).source.poll())).code).toBe("ref-ambiguous");
    expect((await errorOf(host.open({ url, ref: "folder" }).source.fetch())).code).toBe("ref-not-commit");
    expect(await host.open({ url, ref: "refs/heads/both" }).source.poll()).toMatchObject({ commit: first });
  });

  it("of an empty repository says so, and works after the first push", async () => {
    const { url, work } = host.repository();
    const { source } = host.open({ url });
    expect((await errorOf(source.poll())).code).toBe("repository-empty");
    expect((await errorOf(source.fetch())).code).toBe("repository-empty");
    expect(await source.history(5)).toEqual([]);
    const commit = work.commit({ "a.yaml": "x" });
    await work.push(url);
    expect(await source.fetch()).toMatchObject({ commit });
  });
});

describe("a server that speaks only the old protocol", () => {
  it("is followed the same", async () => {
    const old = await startPolicyHost({ protocol: 0 });
    try {
      const { work, url } = old.repository();
      expect((await errorOf(old.open({ url }).source.poll())).code).toBe("repository-empty");
      const first = work.commit({ "a.yaml": "1" });
      work.git("tag", "-a", "-m", "x", "v1");
      await work.push(url, "main", "v1");
      const { source } = old.open({ url });
      expect(await source.poll()).toEqual({ commit: first, changed: true });
      expect(await source.fetch()).toMatchObject({ commit: first });
      const second = work.commit({ "a.yaml": "2" });
      await work.push(url);
      expect(await source.poll()).toEqual({ commit: second, changed: true });
      expect(await source.fetch()).toMatchObject({ commit: second });
      expect(await old.open({ url, ref: "v1" }).source.poll()).toMatchObject({ commit: first });
      expect(await old.open({ url, ref: "HEAD" }).source.poll()).toMatchObject({ commit: second });
      expect(await old.open({ url, ref: first.slice(0, 8) }).source.fetch()).toMatchObject({ commit: first });
      const error = await errorOf(old.open({ url, ref: "nope" }).source.poll());
      expect(error).toMatchObject({ code: "ref-not-found", data: { branches: ["main"] } });
    } finally {
      await old.close();
    }
  });
});

describe("rewritten history", () => {
  async function rewritten() {
    const repository = await newRepository();
    const { work, url } = repository;
    const good = work.commit({ "policies/edge.yaml": "good\n" }, "Good");
    await work.push(url);
    const followed = host.open({ url });
    await followed.source.fetch();
    work.git("reset", "--quiet", "--hard", repository.first);
    const evil = work.commit({ "policies/edge.yaml": "evil\n" }, "Evil");
    await work.push(url);
    return { ...repository, ...followed, good, evil };
  }

  it("is refused as often as it is met, and forgiven when it is mended", async () => {
    const { work, url, source, good, evil } = await rewritten();
    for (let i = 0; i < 2; i++) {
      expect(await source.poll()).toEqual({ commit: evil, changed: true });
      const error = await errorOf(source.fetch());
      expect(error).toMatchObject({
        code: "history-rewritten",
        disposition: "stalled",
        data: { known: good, found: evil },
      });
    }
    expect((await source.revision(good)).commit).toBe(good);
    // What was refused is in the store, but was never part of the history.
    expect((await errorOf(source.revision(evil))).code).toBe("revision-foreign");
    work.git("reset", "--quiet", "--hard", good);
    const mended = work.commit({ "policies/edge.yaml": "mended\n" });
    await work.push(url);
    expect(await source.fetch()).toMatchObject({ commit: mended });
  });

  it("is remembered across processes, and when a merge hides it, it is none", async () => {
    const { work, url, source, state, good, evil } = await rewritten();
    await source.close();
    expect((await errorOf(host.open({ url, stateDirectory: state }).source.fetch())).code).toBe(
      "history-rewritten",
    );
    work.git("reset", "--quiet", "--hard", good);
    work.git(
      "-c",
      "user.name=x",
      "-c",
      "user.email=x",
      "merge",
      "--quiet",
      "-s",
      "ours",
      "-m",
      "Merge",
      evil,
    );
    await work.push(url);
    expect(await host.open({ url, stateDirectory: state }).source.fetch()).toMatchObject({
      subject: "Merge",
    });
  });

  it("is a branch set back, too", async () => {
    const { work, url, first } = await newRepository();
    work.commit({ "policies/edge.yaml": "2" });
    await work.push(url);
    const { source } = host.open({ url });
    await source.fetch();
    await work.push(url, `${first}:refs/heads/main`);
    expect((await errorOf(source.fetch())).code).toBe("history-rewritten");
  });

  it("is a moved tag, too", async () => {
    const { work, url, first } = await newRepository();
    work.git("tag", "v1", first);
    await work.push(url, "v1");
    const { source } = host.open({ url, ref: "v1" });
    await source.fetch();
    work.git("checkout", "--quiet", "--orphan", "other");
    work.git("update-ref", "-d", "HEAD");
    const other = work.commit({ "policies/edge.yaml": "other" });
    work.git("tag", "--force", "v1", other);
    await work.push(url, "v1");
    expect((await errorOf(source.fetch())).code).toBe("history-rewritten");
  });

  it("is accepted if that is allowed, and the way back stays open", async () => {
    const { url, source, state, good, evil } = await rewritten();
    await source.close();
    const allowing = host.open({ url, stateDirectory: state, allowRewrite: true });
    expect(await allowing.source.fetch()).toMatchObject({ commit: evil });
    expect(allowing.events).toEqual([{ kind: "rewrite-accepted", from: good, to: evil }]);
    expect((await allowing.source.revision(good)).commit).toBe(good);
    await allowing.source.fetch();
    expect(allowing.events).toHaveLength(1);
  });

  it("is not what another ref or another repository is", async () => {
    const { url, state, source, first } = await rewritten();
    await source.close();
    const fixed = host.open({ url, ref: first, stateDirectory: state });
    expect(await fixed.source.fetch()).toMatchObject({ commit: first });
    expect(fixed.events).toEqual([{ kind: "source-changed", what: "ref" }]);
    const other = await newRepository({ "x.yaml": "other" });
    const moved = host.open({ url: other.url, stateDirectory: state });
    expect(await moved.source.fetch()).toMatchObject({ commit: other.first });
    expect(moved.events).toEqual([{ kind: "source-changed", what: "url" }]);
    // Nothing of the first repository is left to go back to.
    expect((await errorOf(moved.source.revision(first))).code).toBe("revision-not-found");
  });

  it("is not noticed only when nobody knows the tip any more, and that is said", async () => {
    const { url, state, source, evil } = await rewritten();
    await source.close();
    writeFileSync(join(state, "repository.git", "refs", "penstock", "tip"), "garbage");
    const after = host.open({ url, stateDirectory: state });
    expect(await after.source.fetch()).toMatchObject({ commit: evil });
    expect(after.events).toEqual([{ kind: "tip-lost" }]);
  });
});

describe("earlier revisions", () => {
  it("are listed, and read without the server", async () => {
    const { work, url, first } = await newRepository({ "a.yaml": "0" });
    const commits = [first];
    for (let i = 1; i < 8; i++) commits.push(work.commit({ "a.yaml": `${i}` }, `Change ${i}`));
    await work.push(url);
    const { source } = host.open({ url });
    await source.fetch();
    host.server.setFault({ kind: "hang" });
    try {
      const history = await source.history(3);
      expect(history.map((h) => h.subject)).toEqual(["Change 7", "Change 6", "Change 5"]);
      expect(history[0]!.parents).toEqual([commits[6]]);
      expect((await source.history(100)).map((h) => h.commit)).toEqual(commits.toReversed());
      for (const [i, commit] of commits.entries()) {
        expect(contents(await source.revision(commit))).toEqual({ "a.yaml": `${i}` });
        expect((await source.revision(commit.slice(0, 10))).commit).toBe(commit);
      }
    } finally {
      host.server.setFault();
    }
  });

  it.each([
    ["unknown", "f".repeat(40), "revision-not-found"],
    ["no id", "main", "revision-not-found"],
    ["too short", "ab", "revision-not-found"],
    ["a way out", "../../x", "revision-not-found"],
    ["an escape", "\x1b[2J", "revision-not-found"],
  ])("are refused: %s", async (_, commit, code) => {
    const { url } = await newRepository();
    const { source } = host.open({ url });
    await source.fetch();
    const error = await errorOf(source.revision(commit));
    expect(error.code).toBe(code);
    expect(error.message).not.toMatch(/\p{Cc}/u);
  });

  it("are refused if they are of another branch, or no commit", async () => {
    const { work, url, first } = await newRepository();
    work.git("checkout", "--quiet", "-b", "side");
    const side = work.commit({ "a.yaml": "side" });
    await work.push(url, "--all");
    // Fetching by commit id brings all branches into the store.
    const { source } = host.open({ url, ref: first });
    await source.fetch();
    expect((await errorOf(source.revision(side))).code).toBe("revision-foreign");
    expect((await errorOf(source.revision(work.git("rev-parse", "HEAD^{tree}")))).code).toBe(
      "revision-not-found",
    );
  });
});

describe("the store", () => {
  it("is a repository that git finds no fault with, also after being made small", async () => {
    const { work, url, bare, first } = await newRepository();
    const { source, state, events } = host.open({ url });
    await source.fetch();
    for (let i = 0; i < 52; i++) {
      work.commit({ "policies/edge.yaml": `${i}`, [`policies/${i}.yaml`]: "x".repeat(i) });
      await work.push(bare);
      await source.fetch();
    }
    expect(events).toEqual([{ kind: "store-compacted", packsBefore: 50 }]);
    const store = join(state, "repository.git");
    expect(git(store, ["fsck", "--full", "--strict"])).toBe("");
    expect(readdirSync(join(store, "objects", "pack")).filter((n) => n.endsWith(".pack"))).toHaveLength(3);
    expect(git(store, ["rev-parse", "refs/penstock/tip"])).toBe(work.git("rev-parse", "HEAD"));
    expect((await source.revision(first)).commit).toBe(first);
    expect(await source.history(1000)).toHaveLength(53);
  });

  it("may be removed under a running source", async () => {
    const { url, first } = await newRepository();
    const { source, state } = host.open({ url });
    await source.fetch();
    rmSync(state, { recursive: true });
    expect(await source.poll()).toEqual({ commit: first, changed: true });
    expect(await source.fetch()).toMatchObject({ commit: first });
  });

  it("is not made in a folder that holds something else", async () => {
    const { url } = await newRepository();
    const state = host.newFolder();
    mkdirSync(join(state, "repository.git"), { recursive: true });
    writeFileSync(join(state, "repository.git", "precious"), "data");
    expect((await errorOf(host.open({ url, stateDirectory: state }).source.fetch())).code).toBe(
      "store-foreign",
    );
    expect(existsSync(join(state, "repository.git", "precious"))).toBe(true);
  });

  it("that cannot be written is said so", async () => {
    const { url } = await newRepository();
    const error = await errorOf(host.open({ url, stateDirectory: "/dev/null/state" }).source.poll());
    expect(error).toMatchObject({ code: "store-failed", disposition: "stalled", data: { errno: "ENOTDIR" } });
  });
});

describe("calls", () => {
  it("wait for one another, and a failed one does not stop the next", async () => {
    const { url, first } = await newRepository();
    const { source } = host.open({ url });
    host.server.requests.length = 0;
    const results = await Promise.allSettled([
      source.fetch(),
      source.poll(),
      source.revision("0000000"),
      source.fetch(),
      source.history(5),
    ]);
    expect(results.map((r) => r.status)).toEqual([
      "fulfilled",
      "fulfilled",
      "rejected",
      "fulfilled",
      "fulfilled",
    ]);
    expect(results[1]).toMatchObject({ value: { commit: first, changed: false } });
    expect(host.server.requests.filter((r) => r.stage === "pack")).toHaveLength(1);
  });

  it("can be cancelled while they run and while they wait", async () => {
    const { url, first } = await newRepository();
    const { source } = host.open({ url });
    host.server.setFault({ kind: "hang" });
    const controller = new AbortController();
    const running = errorOf(source.fetch(controller.signal));
    const waiting = errorOf(source.poll(controller.signal));
    setTimeout(() => controller.abort(), 50);
    expect((await running).code).toBe("source-cancelled");
    expect((await waiting).code).toBe("source-cancelled");
    host.server.setFault();
    expect(await source.fetch()).toMatchObject({ commit: first });
  });

  it("end when the source is closed, and are refused after", async () => {
    const { url } = await newRepository();
    const { source } = host.open({ url });
    host.server.setFault({ kind: "hang" }, "pack");
    const running = errorOf(source.fetch());
    await new Promise((done) => setTimeout(done, 100));
    await source.close();
    host.server.setFault();
    expect((await running).code).toBe("source-closed");
    expect((await errorOf(source.poll())).code).toBe("source-closed");
    await source.close();
  });
});

it("takes pushes of git itself from the server that tests use", async () => {
  const { url, work, first } = await newRepository();
  expect(await gitAsync(work.path, ["ls-remote", url, "refs/heads/main"])).toContain(first);
});
