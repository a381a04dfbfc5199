// The full disk for real: a small tmpfs, filled to the last byte between reserve() and append(). Needs root to
// mount; without it the test is skipped, loudly, and fails where a skip is forbidden (REQUIRE_KERNEL=1).
import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, statfsSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { verifyAuditLog } from "../../src/audit/index.ts";
import { collect, openTestLog, sampleEntry } from "./audit-support.ts";

const failure = tryMount();
if (failure !== undefined) {
  process.stderr.write(`SKIPPED the audit log on a full disk: ${failure}\n`);
  if (process.env["REQUIRE_KERNEL"] === "1") {
    test("a tmpfs can be mounted, as REQUIRE_KERNEL=1 asks for", () => expect.fail(failure));
  }
}

/** Why no tmpfs can be mounted here; undefined if one can. Leaves nothing mounted. */
function tryMount(): string | undefined {
  try {
    removeTmpfs(makeTmpfs());
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function makeTmpfs(): string {
  const mountPoint = mkdtempSync(join(tmpdir(), "penstock-audit-full-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", mountPoint], { stdio: "pipe" });
  } catch (error) {
    rmdirSync(mountPoint);
    throw error;
  }
  return mountPoint;
}

function removeTmpfs(mountPoint: string): void {
  execFileSync("umount", [mountPoint]);
  rmdirSync(mountPoint);
}

describe.skipIf(failure !== undefined)("on a tmpfs of 4 MiB", () => {
  let mountPoint: string;
  let filler: string;
  let directory: string;
  beforeEach(() => {
    mountPoint = makeTmpfs();
    filler = join(mountPoint, "filler");
    directory = join(mountPoint, "audit");
  });
  afterEach(() => {
    removeTmpfs(mountPoint);
  });

  /** Writes until the file system has no block left. */
  function fill(): void {
    const file = openSync(filler, "a");
    try {
      for (;;) writeSync(file, Buffer.alloc(4096, 1));
    } catch (error) {
      expect(error).toMatchObject({ code: "ENOSPC" });
    } finally {
      closeSync(file);
    }
    expect(statfsSync(mountPoint).bfree).toBe(0);
  }

  test("a reserved record is written, and verifies", async () => {
    const log = await openTestLog({ directory });
    await log.append(sampleEntry());
    await log.reserve();
    fill();
    const diagnostics = Array.from({ length: 100 }, () => "x".repeat(500));
    const record = await log.append(sampleEntry({ diagnostics }));
    expect(record.sequence).toBe(2);
    await log.close();
    expect(await verifyAuditLog(directory)).toMatchObject({ ok: true, records: 2, findings: [] });
    const again = await openTestLog({ directory });
    expect((await collect(again.records({ limit: 1 })))[0]).toEqual(record);
    await again.close();
  });

  test("without a reservation it fails cleanly, and goes on when there is space again", async () => {
    const log = await openTestLog({ directory });
    const diagnostics = Array.from({ length: 100 }, () => "x".repeat(500));
    await log.append(sampleEntry());
    fill();
    await expect(log.append(sampleEntry({ diagnostics }))).rejects.toMatchObject({
      code: "audit-write-failed",
      disposition: "transient",
      data: { errno: "ENOSPC" },
      remedy: expect.stringContaining("Free space"),
    });
    await expect(log.reserve()).rejects.toMatchObject({ code: "audit-write-failed" });
    expect((await verifyAuditLog(directory)).records).toBe(1);
    rmSync(filler);
    await log.reserve();
    expect((await log.append(sampleEntry({ diagnostics }))).sequence).toBe(2);
    await log.close();
    expect(log.repairs).toEqual([]);
    expect(await verifyAuditLog(directory)).toMatchObject({ ok: true, records: 2 });
  });

  test("a reservation is good for one record only", async () => {
    const log = await openTestLog({ directory });
    await log.reserve();
    const long = sampleEntry({ diagnostics: Array.from({ length: 100 }, () => "x".repeat(500)) });
    fill();
    await log.append(long);
    fill();
    await expect(log.append(long)).rejects.toMatchObject({ code: "audit-write-failed" });
    await log.close();
    expect((await verifyAuditLog(directory)).ok).toBe(true);
  });
});
