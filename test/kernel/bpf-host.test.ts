// What the agent asks of its host: interfaces of its own namespace, one agent at a time, and a check that tells
// what is missing and never throws, whatever it may not do.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { missingCapabilities } from "../../src/bpf/capabilities.ts";
import { acquireLock, checkFeatures, errnoName, findInterface, listInterfaces } from "../../src/bpf/index.ts";
import { parseDeviceNames } from "../../src/bpf/interfaces.ts";
import { kernelError } from "../../src/bpf/kernel-error.ts";
import { findReason } from "../../src/bpf/verifier-log.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import { makeVethNamespace } from "../fixtures/network-namespace.ts";

const DOOR = fileURLToPath(new URL("../../src/bpf/index.ts", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "pk-host-"));
afterAll(() => rmSync(directory, { recursive: true }));

describeKernel("interfaces", () => {
  it("are those of the namespace of the caller, whatever /sys shows", () => {
    const namespace = makeVethNamespace();
    expect(
      namespace
        .enter(listInterfaces)
        .map(({ name }) => name)
        .sort(),
    ).toEqual(expect.arrayContaining(["left", "lo", "right"]));
    expect(namespace.enter(() => findInterface("left"))).toEqual(
      namespace.enter(listInterfaces).find(({ name }) => name === "left"),
    );
    expect(findInterface("left")).toBeUndefined();
    expect(listInterfaces().map(({ name }) => name)).not.toContain("left");
    expect(listInterfaces()[0]).toEqual({ name: "lo", index: 1 });
  });

  it("are read from the kernel's text, long names and full columns included", () => {
    const head = "Inter-|   Receive    |  Transmit\n face |bytes    packets|bytes    packets\n";
    const text = `${head}    lo:       0       0\nabcdefghijklmno:123456789 9\n  a-b.c: 1 2\n`;
    expect(parseDeviceNames(text)).toEqual(["lo", "abcdefghijklmno", "a-b.c"]);
    expect(parseDeviceNames("")).toEqual([]);
  });
});

describeKernel("the lock", () => {
  it("names the process that holds it, and goes with it", async () => {
    const path = join(directory, "run", "lock");
    const script = `import { acquireLock } from ${JSON.stringify(DOOR)};
      acquireLock(${JSON.stringify(path)}); console.log("held"); setInterval(() => {}, 1000);`;
    const holder = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script]);
    await once(holder.stdout, "data");
    expect(() => acquireLock(path)).toThrow(`Cannot take the lock ${path}: process ${holder.pid} holds it`);
    holder.kill("SIGKILL");
    await once(holder, "exit");
    const lock = acquireLock(path);
    expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
    try {
      acquireLock(path);
      expect.fail("the lock was taken twice");
    } catch (thrown) {
      expect(thrown).toMatchObject({ code: "already-running", data: { pid: process.pid } });
    }
    lock.release();
    lock.release();
    acquireLock(path).release();
  });

  it("is held on the file that is there, not on one that was removed", () => {
    const path = join(directory, "removed");
    const first = acquireLock(path);
    unlinkSync(path);
    const second = acquireLock(path);
    first.release();
    expect(() => acquireLock(path)).toThrow("holds it");
    second.release();
  });

  it("says why when the file cannot be made", () => {
    writeFileSync(join(directory, "file"), "");
    expect(() => acquireLock(join(directory, "file", "lock"))).toThrow(
      /Cannot take the lock .*: E(EXIST|NOTDIR)/,
    );
  });
});

describeKernel("the check", () => {
  it("finds everything here", () => {
    const checks = checkFeatures();
    expect(checks.filter(({ status }) => status === "fail")).toEqual([]);
    expect(checks.map(({ name }) => name)).toEqual([
      "kernel-version",
      "capabilities",
      "libbpf",
      "btf",
      "bpffs",
      "map-hash",
      "map-lpm-trie",
      "map-ring-buffer",
      "map-mmapable-array",
      "map-per-cpu",
      "batch-operations",
      "xdp-program",
      "bpf-loop",
      "xdp-link",
      "tcx-link",
      "grace-period",
      "memory-accounting",
    ]);
  });

  it("asks for the kernel that the README asks for", () => {
    const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
    expect(readme).toContain(checkFeatures().find(({ name }) => name === "kernel-version")?.needed);
  });

  it("leaves the process in its own network namespace", () => {
    const before = listInterfaces();
    checkFeatures();
    expect(listInterfaces()).toEqual(before);
  });

  it("tells how to mount bpffs where there is none", () => {
    for (const bpffs of ["/tmp", join(directory, "missing")]) {
      const check = checkFeatures({ bpffs }).find(({ name }) => name === "bpffs");
      expect(check).toMatchObject({ status: "fail", remedy: `mount -t bpf bpf ${bpffs}` });
    }
  });

  it("reports without rights what is missing, and does not throw", () => {
    const script = `import { checkFeatures } from ${JSON.stringify(DOOR)}; console.log(JSON.stringify(checkFeatures()));`;
    const command = ["--reuid=65534", "--regid=65534", "--clear-groups", "--", process.execPath];
    const child = spawnSync("setpriv", [...command, "--import", "tsx", "--input-type=module", "-e", script], {
      encoding: "utf8",
      env: { ...process.env, TSX_DISABLE_CACHE: "1" },
    });
    expect(child.stderr).toBe("");
    const checks = new Map(
      (JSON.parse(child.stdout) as ReturnType<typeof checkFeatures>).map((c) => [c.name, c]),
    );
    expect(checks.get("capabilities")).toMatchObject({
      status: "fail",
      found: "without CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON",
    });
    expect(checks.get("kernel-version")?.status).toBe("ok");
    for (const name of ["map-hash", "batch-operations", "xdp-program", "bpf-loop"]) {
      expect(checks.get(name)).toMatchObject({
        name,
        status: "fail",
        found: expect.stringContaining("EPERM"),
      });
      expect(checks.get(name)?.remedy).toBeDefined();
    }
  });

  it("reports a missing libbpf with the remedy, and so does everything that needs it", () => {
    // In a mount namespace of its own, where an empty file lies over the library.
    const script = `import { checkFeatures, openObject, listInterfaces } from ${JSON.stringify(DOOR)};
      const checks = checkFeatures().filter((c) => c.status === "fail").map((c) => [c.name, c.found, c.remedy]);
      let error; try { openObject("x.o"); } catch (thrown) { error = { code: thrown.code, remedy: thrown.remedy }; }
      console.log(JSON.stringify({ checks, error, interfaces: listInterfaces().length }));`;
    const hide = 'mount --bind /dev/null "$1" && shift && exec "$@"';
    const library = spawnSync("sh", ["-c", "ldconfig -p | sed -n 's/.*libbpf.so.1 .*=> //p' | head -n 1"], {
      encoding: "utf8",
    }).stdout.trim();
    const command = [process.execPath, "--import", "tsx", "--input-type=module", "-e", script];
    const child = spawnSync("unshare", ["--mount", "sh", "-c", hide, "sh", library, ...command], {
      encoding: "utf8",
    });
    expect(child.stderr).toBe("");
    const { checks, error, interfaces } = JSON.parse(child.stdout);
    const remedy = "Install libbpf 1.1 or later: apt-get install libbpf1";
    expect(error).toEqual({ code: "libbpf-missing", remedy });
    expect(checks[0]).toEqual(["libbpf", expect.stringContaining("Cannot load libbpf.so.1"), remedy]);
    expect(interfaces).toBeGreaterThan(0);
  });

  const capabilities = [
    { name: "root", hex: "000001ffffffffff", missing: [] },
    { name: "the three", hex: ((1n << 12n) | (1n << 38n) | (1n << 39n)).toString(16), missing: [] },
    { name: "CAP_SYS_ADMIN alone", hex: (1n << 21n).toString(16), missing: ["CAP_NET_ADMIN"] },
    { name: "CAP_BPF alone", hex: (1n << 39n).toString(16), missing: ["CAP_NET_ADMIN", "CAP_PERFMON"] },
    { name: "none", hex: "0", missing: ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] },
  ];
  for (const { name, hex, missing } of capabilities) {
    it(`knows the rights of a process: ${name}`, () => {
      expect(missingCapabilities(`Name:\tx\nCapEff:\t${hex}\nCapBnd:\t0\n`)).toEqual(missing);
    });
  }
});

describeKernel("errors", () => {
  it("name the call, the object and the error number", () => {
    const error = kernelError({ action: "update", object: "map x", call: "bpf_map_update_elem", errno: 7 });
    expect(error.message).toBe("Cannot update map x: E2BIG (7)");
    expect(error.data).toEqual({ call: "bpf_map_update_elem", object: "map x", errno: "E2BIG" });
    expect([errnoName(524), errnoName(4_001), errnoName(999)]).toEqual([
      "ENOTSUPP",
      "LIBBPF_ERRNO__FORMAT",
      "errno-999",
    ]);
  });

  const dispositions = [
    { errno: 11, disposition: "transient" },
    { errno: 16, disposition: "transient" },
    { errno: 4, disposition: "transient" },
    { errno: 12, disposition: "transient" },
    { errno: 1, disposition: "stalled" },
    { errno: 7, disposition: "stalled" },
    { errno: 22, disposition: "stalled" },
  ];
  for (const { errno, disposition } of dispositions) {
    it(`are ${disposition} for ${errnoName(errno)}`, () => {
      expect(kernelError({ action: "x", object: "y", call: "z", errno }).disposition).toBe(disposition);
    });
  }

  it("find the reason in a verifier log behind the statistics", () => {
    const log = "0: (b7) r0 = 0\nR1 !read_ok\n\nprocessed 1 insns (limit 1000000) max_states_per_insn 0\n";
    expect(findReason(log)).toBe("R1 !read_ok");
    expect(findReason("")).toBe("no reason given");
  });
});
