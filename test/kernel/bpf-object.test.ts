// Loading of object files: sizes, constants, refusals that say why, maps taken over from pins or not, pins that are
// never half, and no descriptor left behind.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { PenstockError } from "../../src/base/index.ts";
import {
  type BpfObject,
  createMap,
  createTestRunner,
  isKernelError,
  listPins,
  MAP_TYPE,
  mapPinPath,
  openObject,
  openPinnedMap,
  openPinnedProgram,
  openProgramById,
  programPinPath,
  unpin,
  unpinAll,
} from "../../src/bpf/index.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";

const FRAME = new Uint8Array(64);

function catchError(work: () => unknown): PenstockError {
  try {
    work();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(PenstockError);
    return thrown as PenstockError;
  }
  return expect.fail("nothing was thrown");
}

function countDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

describeKernel("loading an object", () => {
  it("takes sizes and constants, and lists maps and programs by their full names", () => {
    const object = openObject(compileBpf("tables"), {
      maxEntries: { flows_of_a_long_name: 1_234 },
      rodata: { threshold: 9, small_constant: 21n, key_bytes: new Uint8Array([4, 0, 0, 0, 0, 5]) },
    });
    expect([...object.maps.keys()].sort()).toEqual([
      "devices",
      "flows_of_a_long_name",
      "generation",
      "packets",
    ]);
    expect(object.map("flows_of_a_long_name").info()).toMatchObject({
      name: "flows_of_a_long",
      type: MAP_TYPE.hash,
      keySize: 4,
      valueSize: 8,
      maxEntries: 1_234,
      flags: 0,
    });
    const program = object.program("xdp_constants");
    expect(program.section).toBe("xdp");
    expect(program.info()).toMatchObject({ name: "xdp_constants", type: 6 });
    expect(program.info().tag).toMatch(/^[0-9a-f]{16}$/);
    expect(program.info().loadTimeNs).toBeGreaterThan(0n);
    expect(createTestRunner(program).run(FRAME).verdict).toBe(9_021_009);
    object.close();
    expect(() => program.fd).toThrow("closed");
    expect(() => object.map("packets").lookup(new Uint8Array(4))).toThrow("closed");
  });

  const mismatches = [
    { name: "unknown map to size", options: { maxEntries: { nothing: 1 } }, text: "it has no map nothing" },
    { name: "unknown constant", options: { rodata: { nothing: 1 } }, text: "it has no constant nothing" },
    { name: "too large a number", options: { rodata: { small_constant: 65_536 } }, text: "has 2 bytes" },
    { name: "too few bytes", options: { rodata: { key_bytes: new Uint8Array(5) } }, text: "has 6 bytes" },
    { name: "number for bytes", options: { rodata: { key_bytes: 1 } }, text: "has 6 bytes" },
  ];
  for (const { name, options, text } of mismatches) {
    it(`refuses an object that does not fit: ${name}`, () => {
      const error = catchError(() => openObject(compileBpf("tables"), options));
      expect(error.code).toBe("object-mismatch");
      expect(error.message).toContain(text);
    });
  }

  it("says which program the verifier refused, and why, with the tail of its log", () => {
    const error = catchError(() => openObject(compileBpf("refused")));
    expect(error).toMatchObject({ code: "program-refused", disposition: "stalled" });
    expect(error.message).toContain("Cannot load program xdp_unbounded");
    expect(error.message).toContain("R1 offset is outside of the packet");
    expect(error.data).toMatchObject({ program: "xdp_unbounded", errno: "EACCES" });
    expect(String(error.data["log"])).toContain("invalid access to packet, off=5");
    expect(String(error.data["log"]).length).toBeLessThanOrEqual(8_192);
  });

  it("finds the reason though the first log buffer is far too small", () => {
    const error = catchError(() => openObject(compileBpf("refused"), { logBytes: 128 }));
    expect(error.code).toBe("program-refused");
    expect(error.data["errno"]).toBe("EACCES");
    expect(String(error.data["log"])).toContain("invalid access to packet, off=5");
  });

  it("names the file and libbpf's reason when the file is no object", () => {
    const missing = catchError(() => openObject("/nonexistent/x.bpf.o"));
    expect(isKernelError(missing, "ENOENT")).toBe(true);
    expect(missing.message).toContain("Cannot open object /nonexistent/x.bpf.o: ENOENT (2)");
    const text = join(compileBpf("tables"), "../not-elf.o");
    writeFileSync(text, "this is text\n");
    expect(catchError(() => openObject(text)).message).toContain("not a proper ELF object");
  });

  it("names the map that the kernel refused to make", () => {
    const error = catchError(() =>
      openObject(compileBpf("tables"), { maxEntries: { generation: 0xffff_ffff } }),
    );
    expect(error.code).toBe("kernel-call-failed");
    expect(error.message).toContain("map 'generation'");
  });

  it("leaves no descriptor behind, loaded, refused or pinned", () => {
    const directory = makePinDirectory();
    const first = openObject(compileBpf("tables"));
    const exercise = () => {
      const object = openObject(compileBpf("tables"));
      pinAll(object, directory);
      openPinnedMap(mapPinPath(directory, "packets"))?.close();
      const program = openPinnedProgram(programPinPath(directory, "xdp_tables"));
      openProgramById(program?.info().id ?? 0).close();
      program?.close();
      listPins(directory);
      object.map("generation").mmap().close();
      object.close();
      object.close();
      catchError(() => openObject(compileBpf("refused"), { logBytes: 128 }));
      catchError(() => openObject(compileBpf("tables"), { maxEntries: { generation: 0xffff_ffff } }));
      catchError(() =>
        openObject(compileBpf("tables"), {
          sharedMaps: { generation: first.map("generation") },
          maxEntries: { generation: 5 },
        }),
      );
      catchError(() => openObject("/nonexistent/x.bpf.o"));
    };
    exercise();
    const before = countDescriptors();
    for (let i = 0; i < 20; i++) exercise();
    expect(countDescriptors()).toBe(before);
    first.close();
  });
});

function pinAll(object: BpfObject, directory: string): void {
  for (const [name, map] of object.maps) map.pin(mapPinPath(directory, name));
  for (const [name, program] of object.programs) program.pin(programPinPath(directory, name));
}

describeKernel("pins", () => {
  const key = new Uint8Array([1, 0, 0, 0]);
  const value = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
  const maxEntries = { flows_of_a_long_name: 100 };

  it("keep maps and their content for whoever opens them", () => {
    const directory = makePinDirectory();
    const first = openObject(compileBpf("tables"), { maxEntries });
    expect(listPins(directory)).toEqual([]);
    pinAll(first, directory);
    first.map("flows_of_a_long_name").update(key, value);
    const id = first.map("flows_of_a_long_name").id;
    first.close();

    const flows = openPinnedMap(mapPinPath(directory, "flows_of_a_long_name"), "flows_of_a_long_name");
    if (flows === undefined) throw new Error("no pin");
    expect(flows.id).toBe(id);
    expect(flows.lookup(key)).toEqual(value);
    const second = openObject(compileBpf("tables"), {
      maxEntries,
      sharedMaps: { flows_of_a_long_name: flows },
    });
    expect(second.map("flows_of_a_long_name").id).toBe(id);
    expect(listPins(directory).map(({ kind, name }) => `${kind} ${name}`)).toEqual([
      "map devices",
      "map flows_of_a_long_name",
      "map generation",
      "map packets",
      "program xdp_constants",
      "program xdp_context",
      "program xdp_metadata",
      "program xdp_tables",
    ]);
    second.close();
    flows.close();
    expect(unpinAll(directory)).toBe(8);
    expect(listPins(directory)).toEqual([]);
  });

  const changes = [
    {
      name: "value size",
      defines: ["FLOW_VALUE=__u32"],
      entries: 100,
      wanted: "hash, key 4, value 4, 100 entries",
    },
    { name: "capacity", defines: [], entries: 101, wanted: "hash, key 4, value 8, 101 entries" },
  ];
  for (const { name, defines, entries, wanted } of changes) {
    it(`are not shared with an object of another layout, naming both: ${name}`, () => {
      const first = openObject(compileBpf("tables"), { maxEntries });
      const sharedMaps = { flows_of_a_long_name: first.map("flows_of_a_long_name") };
      const options = { maxEntries: { flows_of_a_long_name: entries }, sharedMaps };
      const error = catchError(() => openObject(compileBpf("tables", defines), options));
      expect(error).toMatchObject({ code: "map-layout-changed", disposition: "stalled" });
      expect(error.message).toContain("Cannot reuse map flows_of_a_long_name");
      expect(error.message).toContain("hash, key 4, value 8, 100 entries, flags 0x0");
      expect(error.message).toContain(wanted);
      first.close();
    });
  }

  it("are not needed for maps that two objects share", () => {
    const first = openObject(compileBpf("tables"));
    const sharedMaps = { generation: first.map("generation") };
    const second = openObject(compileBpf("tables"), { sharedMaps });
    expect(second.map("generation").id).toBe(first.map("generation").id);
    expect(second.map("packets").id).not.toBe(first.map("packets").id);
    second.close();
    expect(first.map("generation").lookup(new Uint8Array(4))).toBeDefined();
    first.close();
  });
});

describeKernel("pin names and places", () => {
  const make = () => createMap({ name: "x", type: MAP_TYPE.array, keySize: 4, valueSize: 8, entriesMax: 1 });

  it("replace in one step, survive leftovers, and refuse what bpffs cannot hold", () => {
    const directory = makePinDirectory();
    const [old, fresh] = [make(), make()];
    const path = join(directory, "deep", "x");
    old.pin(path);
    fresh.pin(path);
    const pinned = openPinnedMap(path);
    expect(pinned?.id).toBe(fresh.id);
    pinned?.close();
    expect(listPins(directory).map((pin) => pin.path)).toEqual([path]);
    // What a process killed between pinning and renaming leaves.
    const left = spawnSync("bpftool", ["map", "pin", "id", String(old.id), join(directory, "deep", "~x")]);
    expect(left.status).toBe(0);
    expect(listPins(directory).map((pin) => pin.path)).toEqual([path]);
    fresh.pin(path);
    expect(readdirSync(join(directory, "deep"))).toEqual(["x"]);
    expect(catchError(() => fresh.pin(join(directory, "a.b"))).code).toBe("bad-pin");
    const elsewhere = mkdtempSync(join(tmpdir(), "pk-"));
    const refused = catchError(() => fresh.pin(join(elsewhere, "x")));
    rmSync(elsewhere, { recursive: true });
    expect(refused.message).toContain("EPERM");
    expect(refused.remedy).toContain("mount -t bpf");
    expect(openPinnedMap(join(directory, "nothing"))).toBeUndefined();
    expect(unpin(path)).toBe(true);
    expect(unpin(path)).toBe(false);
    expect(listPins(join(directory, "nothing"))).toEqual([]);
    for (const map of [old, fresh]) map.close();
  });
});
