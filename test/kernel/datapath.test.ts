// The adapter over pins and links: who may work with them, and that nothing that is pinned is made worse by opening it.
import { renameSync } from "node:fs";
import { afterEach, expect, it } from "vitest";
import {
  KernelDatapath,
  listPins,
  openObject,
  openPinnedLink,
  queryXdp,
  uninstallDatapath,
  unpin,
} from "../../src/bpf/index.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { addressSet, firewall, interfaceGroup, policyOf } from "../fixtures/firewall-documents.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeVethNamespace } from "../fixtures/network-namespace.ts";
import { applyDocuments, openTestDatapath } from "../fixtures/test-datapath.ts";

describeKernel("the datapath", () => {
  const open: KernelDatapath[] = [];
  afterEach(() => {
    for (const datapath of open.splice(0)) datapath.close();
  });
  const openIn = async (pins: string) => {
    const datapath = await openTestDatapath(pins, { rulesMax: 64, addressesMax: 64 });
    open.push(datapath);
    return datapath;
  };
  /** The namespace belongs to the thread: everything that names interfaces runs inside, the rest does not care. */
  const attachIn = (
    namespace: ReturnType<typeof makeVethNamespace>,
    datapath: KernelDatapath,
    mode: "native" | "generic",
  ) =>
    namespace.enter(() => {
      const left = datapath.interfaces().find((i) => i.name === "left");
      if (left === undefined) throw new Error("no interface");
      return {
        left,
        undo: datapath.attach({ program: "xdp_firewall", interface: "left", index: left.index, mode }),
      };
    });

  it("is one process's at a time, whatever its run directory is", async () => {
    const pins = makePinDirectory();
    await openIn(pins);
    await expect(openIn(pins)).rejects.toThrow(
      expect.objectContaining({
        code: "already-running",
        message: `Cannot take the pins in ${pins}: process ${process.pid} works with them`,
        data: { path: pins, pid: process.pid },
      }),
    );
    open.splice(0)[0]?.close();
    await openIn(pins);
  });

  it("is not taken out of the kernel while another works with it", async () => {
    const pins = makePinDirectory();
    const namespace = makeVethNamespace();
    const { left } = attachIn(namespace, await openIn(pins), "native");
    const before = listPins(pins);
    const uninstall = () => namespace.enter(() => uninstallDatapath(pins));
    expect(uninstall).toThrow(expect.objectContaining({ code: "already-running" }));
    expect(listPins(pins)).toEqual(before);
    open.splice(0)[0]?.close();
    expect(uninstall()).toMatchObject({ detached: [{ interface: "left" }], unpinned: before.length - 1 });
    expect(namespace.enter(() => queryXdp(left.index))).toBeUndefined();
    expect(listPins(pins)).toEqual([]);
  });

  it("keeps entries, generation and program over a restart", async () => {
    const pins = makePinDirectory();
    const first = await openIn(pins);
    const documents = policyOf(
      addressSet("office", ["10.0.0.0/8"]),
      interfaceGroup("wan", ["left"]),
      firewall("edge", [{}]),
    );
    const { result } = await applyDocuments(first, documents, { interfaces: [], rulesMax: 64 });
    open.splice(0)[0]?.close();
    const second = await openIn(pins);
    expect(second.generation().current).toBe(result?.generation.after);
    const again = await applyDocuments(second, documents, { interfaces: [], rulesMax: 64 });
    expect(again.result).toBeUndefined();
  });

  it("puts lost pins back, from the maps that the program behind a link holds", async () => {
    const pins = makePinDirectory();
    const namespace = makeVethNamespace();
    const first = await openIn(pins);
    const { left } = attachIn(namespace, first, "native");
    const ids = ["fw_rules", "directory"].map((name) => first.object.map(name).id);
    const before = namespace.enter(() => queryXdp(left.index));
    open.splice(0)[0]?.close();
    unpin(`${pins}/maps/fw_rules`);
    unpin(`${pins}/maps/directory`);
    const second = await openIn(pins);
    expect(["fw_rules", "directory"].map((name) => second.object.map(name).id)).toEqual(ids);
    expect(second.changes).toEqual([
      "directory: its pin was lost and is back",
      "fw_rules: its pin was lost and is back",
    ]);
    expect(namespace.enter(() => queryXdp(left.index))).toEqual(before);
  });

  it("finds a link whose pin was interrupted before it had its name", async () => {
    const pins = makePinDirectory();
    const namespace = makeVethNamespace();
    const { left } = attachIn(namespace, await openIn(pins), "native");
    open.splice(0)[0]?.close();
    const path = `${pins}/links/xdp_firewall-${left.index}`;
    renameSync(path, `${pins}/links/~xdp_firewall-${left.index}`);
    const datapath = await openIn(pins);
    expect(namespace.enter(() => datapath.attached())).toEqual([
      { program: "xdp_firewall", index: left.index, interface: "left", mode: "native", current: true },
    ]);
    expect(attachIn(namespace, datapath, "native").undo).toBeUndefined();
  });

  it("refuses to make maps anew where it cannot know by which ones a link's program judges", async () => {
    const pins = makePinDirectory();
    const namespace = makeVethNamespace();
    const first = await openIn(pins);
    attachIn(namespace, first, "native");
    open.splice(0)[0]?.close();
    unpin(`${pins}/maps/fw_rules`);
    for (const { path } of listPins(`${pins}/programs`)) unpin(path);
    const stranger = openObject(compileBpf("records"));
    const link = openPinnedLink(`${pins}/links/${listPins(`${pins}/links`)[0]?.name}`);
    namespace.enter(() => link?.update(stranger.program("xdp_record")));
    link?.close();
    stranger.close();
    await expect(openIn(pins)).rejects.toThrow(expect.objectContaining({ code: "pins-incomplete" }));
  });

  it("changes the mode of a link, and takes it back", async () => {
    const pins = makePinDirectory();
    const namespace = makeVethNamespace();
    const datapath = await openIn(pins);
    const { left, undo: undoFirst } = attachIn(namespace, datapath, "native");
    expect(undoFirst).toBeDefined();
    expect(attachIn(namespace, datapath, "native").undo).toBeUndefined();
    const { undo } = attachIn(namespace, datapath, "generic");
    const mode = () => namespace.enter(() => queryXdp(left.index)?.mode);
    expect(mode()).toBe("generic");
    namespace.enter(() => undo?.());
    expect(mode()).toBe("native");
    namespace.enter(() => undoFirst?.());
    expect(mode()).toBeUndefined();
  });

  it("puts the old mode back where the new one cannot be had", async () => {
    const pins = makePinDirectory();
    const namespace = makeVethNamespace();
    const datapath = await openIn(pins);
    const attach = (mode: "native" | "generic") =>
      datapath.attach({ program: "xdp_firewall", interface: "lo", index: 1, mode });
    namespace.enter(() => attach("generic"));
    expect(() => namespace.enter(() => attach("native"))).toThrow(
      expect.objectContaining({ code: "kernel-call-failed" }),
    );
    expect(namespace.enter(() => queryXdp(1))).toMatchObject({ mode: "generic" });
    expect(namespace.enter(() => datapath.attached())).toMatchObject([{ index: 1, mode: "generic" }]);
  });

  it("is not used at a generation that no transaction can have taken", async () => {
    const datapath = await openIn(makePinDirectory());
    const record = datapath.object.map("generation");
    const value = record.lookup(new Uint8Array(4)) ?? new Uint8Array();
    new DataView(value.buffer).setBigUint64(0, 1n << 60n, true);
    record.update(new Uint8Array(4), value);
    expect(() => datapath.generation()).toThrow(expect.objectContaining({ code: "generation-damaged" }));
  });

  it("puts a program back where changing its mode was interrupted", async () => {
    const pins = makePinDirectory();
    const namespace = makeVethNamespace();
    const datapath = await openIn(pins);
    const { left } = attachIn(namespace, datapath, "native");
    // What is left behind by a process that is killed between the old link and the new one.
    datapath.object.program("xdp_firewall").pin(`${pins}/switching/xdp_firewall-${left.index}-native`);
    namespace.enter(() => datapath.detach("xdp_firewall", left.index));
    const programs = new Map([["xdp_firewall", datapath.object.program("xdp_firewall")]]);
    const options = { tables: datapath.tables, pinDirectory: pins };
    const lock = { path: pins, release() {} };
    const next = namespace.enter(() => new KernelDatapath(datapath.object, options, programs, { lock }));
    expect(next.changes).toEqual(["xdp_firewall: back on left, where changing its mode was interrupted"]);
    expect(namespace.enter(() => next.attached())).toMatchObject([{ index: left.index, mode: "native" }]);
    expect(listPins(`${pins}/switching`)).toEqual([]);
  });
});
