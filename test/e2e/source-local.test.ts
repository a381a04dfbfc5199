// Repositories on this machine: read where they are, in every form that git gives them, never written to; and
// hostile trees and commits made with git's own plumbing.
import { chmodSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { git, makeBareRepository, WorkTree } from "../fixtures/git-repository.ts";
import { errorOf, type PolicyHost, startPolicyHost } from "../fixtures/git-source.ts";

let host: PolicyHost;
beforeAll(async () => {
  host = await startPolicyHost();
});
afterAll(() => host.close());

const newWork = () => new WorkTree(host.newFolder());

function snapshot(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => {
    const { size, mtimeMs } = statSync(join(folder, name), { throwIfNoEntry: false }) ?? {
      size: 0,
      mtimeMs: 0,
    };
    return `${name} ${size} ${mtimeMs}`;
  });
}

describe("a local repository", () => {
  it("is followed without being written to", async () => {
    const work = newWork();
    const first = work.commit({ "policies/a.yaml": "1", "other.txt": "x" });
    const before = snapshot(work.path);
    const { source } = host.open({ url: work.path, path: "policies" });
    expect(await source.poll()).toEqual({ commit: first, changed: true });
    expect(await source.fetch()).toMatchObject({ commit: first, files: [{ path: "policies/a.yaml" }] });
    expect(await source.poll()).toEqual({ commit: first, changed: false });
    expect(snapshot(work.path)).toEqual(before);
    const second = work.commit({ "policies/a.yaml": "2" });
    expect(await source.poll()).toEqual({ commit: second, changed: true });
    expect(await source.fetch()).toMatchObject({ commit: second });
    expect((await source.history(9)).map((h) => h.commit)).toEqual([second, first]);
    expect(await source.revision(first.slice(0, 9))).toMatchObject({ commit: first });
  });

  it("may have any form", async () => {
    const work = newWork();
    const commit = work.commit({ "a.yaml": "1" });
    work.git("tag", "-a", "-m", "x", "v1");
    const bare = host.newFolder();
    git(work.path, ["clone", "--quiet", "--bare", work.path, bare]);
    const linked = host.newFolder();
    work.git("worktree", "add", "--quiet", "--detach", linked);
    const shared = host.newFolder();
    git(work.path, ["clone", "--quiet", "--shared", work.path, shared]);
    const shallow = host.newFolder();
    git(work.path, ["clone", "--quiet", "--depth", "1", `file://${work.path}`, shallow]);
    const separate = host.newFolder();
    git(work.path, ["clone", "--quiet", "--separate-git-dir", host.newFolder(), work.path, separate]);
    const forms: Record<string, string> = { work: work.path, bare, linked, shared, shallow, separate };
    forms["git folder"] = join(work.path, ".git");
    forms["file URL"] = `file://${bare}`;
    for (const [form, url] of Object.entries(forms)) {
      for (const ref of ["main", "refs/heads/main", "HEAD", "v1", commit, commit.slice(0, 8)]) {
        if (form === "shallow" && ref === "v1") continue;
        const { source } = host.open({ url, ref });
        expect(await source.poll(), `${form} ${ref}`).toEqual({ commit, changed: true });
        expect(await source.fetch(), `${form} ${ref}`).toMatchObject({ commit, files: [{ path: "a.yaml" }] });
      }
    }
  });

  it("may be packed in any way, also while it is followed", async () => {
    const work = newWork();
    for (let i = 0; i < 30; i++)
      work.commit({ "a.yaml": `${"line\n".repeat(200)}${i}`, [`b${i % 3}.yaml`]: `${i}` });
    const { source } = host.open({ url: work.path });
    const before = await source.fetch();
    work.git("gc", "--quiet", "--aggressive", "--prune=now");
    expect(await source.fetch()).toEqual(before);
    work.git("repack", "-a", "-d", "--quiet", "--depth=250", "--window=50");
    work.git("pack-refs", "--all", "--prune");
    expect(await source.poll()).toEqual({ commit: before.commit, changed: false });
    expect(await source.fetch()).toEqual(before);
    expect(await source.history(100)).toHaveLength(30);
    for (const { commit } of await source.history(100)) {
      const wanted = work.git("show", `${commit}:a.yaml`);
      const { files } = await source.revision(commit);
      expect(Buffer.from(files[0]!.content).toString()).toBe(wanted);
    }
  });

  it("has its history watched, too", async () => {
    const work = newWork();
    const first = work.commit({ "a.yaml": "1" });
    const good = work.commit({ "a.yaml": "2" });
    const { source } = host.open({ url: work.path });
    await source.fetch();
    work.git("reset", "--quiet", "--hard", first);
    const evil = work.commit({ "a.yaml": "evil" });
    expect(await errorOf(source.fetch())).toMatchObject({
      code: "history-rewritten",
      data: { known: good, found: evil },
    });
    // Also when the old commit is gone altogether.
    work.git("reflog", "expire", "--expire=now", "--all");
    work.git("gc", "--quiet", "--prune=now");
    expect((await errorOf(source.fetch())).code).toBe("history-rewritten");
  });

  it("in a linked work tree has a HEAD of its own", async () => {
    const work = newWork();
    const first = work.commit({ "a.yaml": "1" });
    const linked = host.newFolder();
    work.git("worktree", "add", "--quiet", "-b", "side", linked);
    const second = work.commit({ "a.yaml": "2" });
    expect(await host.open({ url: linked, ref: "HEAD" }).source.poll()).toMatchObject({ commit: first });
    expect(await host.open({ url: linked, ref: "main" }).source.poll()).toMatchObject({ commit: second });
  });

  it("is refused clearly if it is none, empty, or of a kind that is not read", async () => {
    const empty = host.newFolder();
    git("/", ["init", "--quiet", empty]);
    const plain = host.newFolder();
    mkdirSync(plain);
    const file = join(plain, "file");
    writeFileSync(file, "x");
    const dangling = host.newFolder();
    mkdirSync(dangling);
    writeFileSync(join(dangling, ".git"), "gitdir: /nowhere/at/all\n");
    const odd = host.newFolder();
    mkdirSync(odd);
    writeFileSync(join(odd, ".git"), "something else\n");
    const sha256 = host.newFolder();
    makeBareRepository(sha256, "--object-format=sha256");
    const reftable = host.newFolder();
    makeBareRepository(reftable);
    git(reftable, ["config", "core.repositoryformatversion", "1"]);
    git(reftable, ["config", "extensions.refStorage", "reftable"]);
    for (const [url, code, text] of [
      [host.newFolder(), "source-not-found", /no such folder/],
      [file, "source-not-found", /not a folder/],
      [plain, "source-not-found", /not a Git repository/],
      [dangling, "source-not-found", /\.git file/],
      [odd, "source-not-found", /\.git file/],
      [empty, "repository-empty", /no commits/],
      [sha256, "unsupported-repository", /sha256/],
      [reftable, "unsupported-repository", /reftable/],
    ] as const) {
      const error = await errorOf(host.open({ url }).source.fetch());
      expect(error, url).toMatchObject({ code, disposition: "stalled" });
      expect(error.message).toMatch(text);
      expect(error.remedy).toBeTruthy();
    }
    const work = newWork();
    work.commit({ "a.yaml": "1" });
    work.git("branch", "other");
    const missing = await errorOf(host.open({ url: work.path, ref: "nope" }).source.poll());
    expect(missing).toMatchObject({ code: "ref-not-found", data: { branches: ["main", "other"] } });
  });

  it("with missing objects says which", async () => {
    const work = newWork();
    work.commit({ "a.yaml": "1" });
    const blob = work.git("rev-parse", "HEAD:a.yaml");
    rmSync(join(work.path, ".git", "objects", blob.slice(0, 2), blob.slice(2)));
    const error = await errorOf(host.open({ url: work.path }).source.fetch());
    expect(error).toMatchObject({ code: "source-corrupt", disposition: "stalled" });
    expect(error.message).toContain(blob);
  });

  it.skipIf(process.getuid?.() === 0)("that may not be read says so", async () => {
    const work = newWork();
    work.commit({ "a.yaml": "1" });
    chmodSync(join(work.path, ".git", "objects"), 0);
    expect((await errorOf(host.open({ url: work.path }).source.fetch())).code).toBe("source-unauthorized");
    chmodSync(join(work.path, ".git", "objects"), 0o755);
  });
});

describe("what was pushed by somebody hostile", () => {
  async function pushed(make: (work: WorkTree) => void, path = "policies") {
    const { work, url } = host.repository();
    make(work);
    await work.push(url);
    return host.open({ url, path });
  }

  it.each([
    ["a symbolic link", "120000", "passwd.yaml"],
    ["a submodule", "160000", "sub"],
    ["a name that leaves the folder", "100644", "../../etc/cron.d/x.yaml"],
    ["a name with an escape sequence", "100644", "\x1b]0;pwned\x07.yaml"],
    ["a line end", "100644", "a\nb.yaml"],
  ])("is refused by name: %s", async (_, mode, name) => {
    const { source } = await pushed((work) => {
      const oid = mode === "160000" ? "1".repeat(40) : work.blob("/etc/passwd");
      const folder = work.tree([{ mode, name, oid }]);
      work.commitTree([{ mode: "40000", name: "policies", oid: folder }]);
    });
    const error = await errorOf(source.fetch());
    expect(error).toMatchObject({ code: "source-entry-refused", disposition: "stalled" });
    expect(error.message).not.toMatch(/\p{Cc}/u);
    // What was refused is no known tip: the mended commit is the first one that counts.
    expect(await source.history(5)).toEqual([]);
  });

  it("is cleaned in what is shown of it", async () => {
    const { source } = await pushed((work) => {
      work.commit({ "policies/a.yaml": "x" }, "\x1b[2J\x1b[31mAll is well\u202e\r\n\nreally");
    });
    expect((await source.fetch()).subject).toBe("[2J[31mAll is well");
  });

  it("is refused until it is mended, then taken", async () => {
    const { work, url } = host.repository();
    const first = work.commit({ "policies/a.yaml": "1" });
    await work.push(url);
    const { source } = host.open({ url, path: "policies" });
    await source.fetch();
    work.git("rm", "-r", "--quiet", "policies");
    work.commit({ "README.md": "no policy any more" });
    await work.push(url);
    const error = await errorOf(source.fetch());
    expect(error).toMatchObject({ code: "policy-path-missing", disposition: "stalled" });
    expect(await source.poll()).toMatchObject({ changed: true });
    const mended = work.commit({ "policies/a.yaml": "2" });
    await work.push(url);
    expect(await source.fetch()).toMatchObject({ commit: mended });
    expect((await source.history(9)).map((h) => h.commit).at(-1)).toBe(first);
  });
});
