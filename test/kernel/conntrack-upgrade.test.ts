// Connections over restarts, upgrades and other sizes of their table, while packets go through the programs of both
// versions: every connection goes on, has one slot, and is counted once.
import { afterEach, expect, it, vi } from "vitest";
import { ctSlotCodec } from "../../src/abi/index.ts";
import {
  type BpfProgram,
  createTestRunner,
  type KernelDatapath,
  openDatapath,
  openProgramById,
  tcCommands,
} from "../../src/bpf/index.ts";
import type { Endpoint, TrackedPacket } from "../../src/kinds/conntrack/model.ts";
import { Dialog } from "../fixtures/conntrack-dialog.ts";
import {
  adoptFrame,
  bindInterface,
  ConntrackLab,
  type LabEntry,
  readConnections,
  readCounts,
  u32,
  writeSettings,
} from "../fixtures/conntrack-lab.ts";
import { frameOf } from "../fixtures/conntrack-packets.ts";
import { buildVariant, type Edit, rebuiltEdits, type Variant } from "../fixtures/firewall-variants.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { current, optionsOf, small } from "../fixtures/upgrade-world.ts";

const counted = 128;
const pickedUp = 512;
const rule = 7;
const web: Endpoint = { address: "192.0.2.1", port: 80 };
const client = (n: number): Endpoint => ({ address: `198.51.100.${n >> 1}`, port: 40000 + n });
/** A field is new, and others stand elsewhere therefore. */
const labelled: readonly Edit[] = [
  [
    "lib/conntrack.h",
    "struct connection {\n\t__u64 word;",
    "struct connection {\n\t__u64 label;\n\t__u64 word;",
  ],
  ["lib/conntrack.h", "sizeof(struct connection) == 112", "sizeof(struct connection) == 120"],
];

/** TCP connections that a rule counts, each up to where both sides may send data, and what they say next. */
class Flows {
  readonly lab = new ConntrackLab();
  readonly dialogs = new Map<number, Dialog>();

  open(n: number): void {
    const dialog = new Dialog({ a: client(n), b: web });
    this.dialogs.set(n, dialog);
    this.lab.setOrigin({ ruleId: rule, flags: counted });
    const frame = frameOf(dialog.say({ from: "a", flags: "S", scale: 7 }));
    expect(this.lab.probe("create", frame)).toBe(0);
    this.lab.track(frameOf(dialog.say({ from: "b", flags: "SA", scale: 7 })), "egress");
    this.lab.track(frameOf(dialog.say({ from: "a", flags: "A" })), "ingress");
  }

  data(n: number, from: "a" | "b" = "a"): TrackedPacket {
    const dialog = this.dialogs.get(n);
    if (dialog === undefined) throw new Error(`no flow ${n}`);
    return dialog.say({ from, flags: "A", length: 900 });
  }
}

interface Programs {
  program(name: string): BpfProgram;
}

describeKernel("connections", () => {
  const closers: { close(): void }[] = [];
  afterEach(() => {
    for (const it of closers.splice(0)) it.close();
  });
  const keep = <T extends { close(): void }>(it: T): T => {
    closers.push(it);
    return it;
  };

  const openFlows = (count: number): Flows => {
    const flows = new Flows();
    keep(flows.lab);
    for (let n = 0; n < count; n++) flows.open(n);
    return flows;
  };

  const open = (
    pins: string,
    connectionsMax = 1024,
    variant: Variant = current,
    observe = (_step: string) => {},
  ) => openDatapath({ ...optionsOf(pins, variant, { ...small, connectionsMax }), observe }).then(keep);

  /** A datapath in whose table these connections are. */
  const install = async (pins: string, entries: readonly LabEntry[]) => {
    const datapath = await open(pins);
    writeSettings(datapath.object.map("ct_settings"), {});
    bindInterface(datapath.object.map("interfaces"), 1);
    adoptInto(datapath, entries);
    await expectWhole(datapath, entries.length);
    return datapath;
  };

  /** Its programs, which go on running when nobody has the datapath open. */
  const programsOf = (datapath: KernelDatapath): Programs => {
    const open = ["tc_conntrack_ingress", tcCommands.adopt].map((name) => {
      const program = keep(openProgramById(datapath.program(name).info().id, name));
      return [name, program] as const;
    });
    const programs = new Map(open);
    return { program: (name) => programs.get(name) ?? expect.unreachable(name) };
  };

  const adoptInto = (datapath: Programs, entries: readonly LabEntry[]): void => {
    const runner = createTestRunner(datapath.program(tcCommands.adopt));
    for (let at = 0; at < entries.length; at += 20) runner.run(adoptFrame(entries.slice(at, at + 20)));
  };

  const send = (datapath: Programs, packet: TrackedPacket) =>
    createTestRunner(datapath.program("tc_conntrack_ingress")).run(frameOf(packet), { ifindex: 1 });

  const entriesOf = (datapath: KernelDatapath) => readConnections(datapath.object.map("connections"));

  /** Of both sides of all connections; what is invalid is not counted. */
  const packetsOf = async (datapath: KernelDatapath) =>
    (await entriesOf(datapath))
      .flatMap(({ value }) => value.side)
      .reduce((sum, { packets }) => sum + Number(packets), 0);

  const byKey = (entries: readonly LabEntry[]) =>
    entries
      .map(({ key, value }) =>
        JSON.stringify({ key, value: { ...value, slot: 0 } }, (_, v) => (typeof v === "bigint" ? `${v}` : v)),
      )
      .sort();

  /** Each connection has a slot of its own that names it, and is counted. */
  const expectWhole = async (datapath: KernelDatapath, flows: number) => {
    const entries = await entriesOf(datapath);
    expect(entries).toHaveLength(flows);
    expect(new Set(entries.map(({ value }) => value.slot)).size).toBe(flows);
    for (const { key, value, state, flags } of entries) {
      const slot = datapath.object.map("ct_slots").lookup(u32(value.slot));
      expect(ctSlotCodec.decode(slot ?? new Uint8Array(0), 0)).toMatchObject({
        key,
        tag: Number(value.word >> 32n),
      });
      expect([state, flags & (counted | pickedUp)]).toEqual(["established", counted]);
    }
    const { rule: total, sources } = await readCounts((name) => datapath.object.map(name), rule);
    expect(total).toBe(flows);
    expect(sources.reduce((sum, count) => sum + count, 0)).toBe(flows);
  };

  it("stay where they are over a restart, and over an upgrade to a build of the same layout", async () => {
    const pins = makePinDirectory();
    const flows = openFlows(6);
    const first = await install(pins, await flows.lab.entries());
    const before = await entriesOf(first);
    const { id } = first.object.map("connections");
    first.close();
    for (const variant of [current, buildVariant(rebuiltEdits), current]) {
      const next = await open(pins, 1024, variant);
      expect(next.object.map("connections").id).toBe(id);
      expect(await entriesOf(next)).toEqual(before);
      await expectWhole(next, 6);
      next.close();
    }
  });

  it("go into a larger and a smaller table, while programs of both see packets", async () => {
    const pins = makePinDirectory();
    const flows = openFlows(40);
    const entries = await flows.lab.entries();
    let datapath = await install(pins, entries.slice(0, 20));
    for (const [size, change, late] of [
      [2048, "1,024 -> 2,048", entries.slice(20, 30)],
      [64, "2,048 -> 64", entries.slice(30)],
    ] as const) {
      const old = programsOf(datapath);
      datapath.close();
      const talk = (through: Programs, rounds: number) => {
        for (let n = 0; n < 40; n++)
          for (let i = 0; i < rounds; i++)
            for (const from of ["a", "b"] as const) send(through, flows.data(n, from));
      };
      // Far more data than a window has, and new connections, after the new table was filled.
      datapath = await open(pins, size, current, (step) => {
        if (step !== "filled") return;
        adoptInto(old, late);
        if (size === 64) talk(old, 200);
      });
      expect(datapath.changes).toContain(`connections: ${change} entries`);
      await expectWhole(datapath, size === 64 ? 40 : 30);
    }
    const before = await packetsOf(datapath);
    for (let n = 0; n < 40; n++) send(datapath, flows.data(n));
    expect((await packetsOf(datapath)) - before).toBe(40);
  });

  it("are refused a table that is too small, and stay in force", async () => {
    const pins = makePinDirectory();
    const flows = openFlows(6);
    (await install(pins, await flows.lab.entries())).close();
    await expect(open(pins, 5)).rejects.toThrow(
      "Cannot make map connections smaller: 5 entries are wanted, 6 are in use",
    );
    await expectWhole(await open(pins), 6);
  });

  it("come over by the names of their fields into another layout, and back", async () => {
    const pins = makePinDirectory();
    const flows = openFlows(6);
    const first = await install(pins, await flows.lab.entries());
    const before = byKey(await entriesOf(first));
    first.close();
    const later = await open(pins, 1024, buildVariant(labelled));
    expect(later.changes).toContain("connections: field label added");
    later.close();
    const back = await open(pins);
    expect(byKey(await entriesOf(back))).toEqual(before);
    await expectWhole(back, 6);
    const sent = flows.data(3);
    send(back, sent);
    expect(byKey(await entriesOf(back))).not.toEqual(before);
  });

  it("that are taken over go on from where the other table saw them last, once, and are swept", async () => {
    const flows = openFlows(4);
    const lab = keep(new ConntrackLab());
    expect([lab.adopt(await flows.lab.entries(), true), lab.adopt(await flows.lab.entries(), true)]).toEqual([
      4, 0,
    ]);
    expect((await lab.entries()).map(({ flags }) => flags & pickedUp)).toEqual([
      pickedUp,
      pickedUp,
      pickedUp,
      pickedUp,
    ]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const fin = flows.dialogs.get(0);
    for (const line of [
      { from: "a", flags: "FA" },
      { from: "b", flags: "FA" },
      { from: "a", flags: "A" },
    ] as const)
      flows.lab.track(frameOf(fin?.say(line) ?? flows.data(0)), "ingress");
    expect(lab.adopt(await flows.lab.entries())).toBe(4);
    expect(byKey(await lab.entries())).toEqual(byKey(await flows.lab.entries()));
    expect(await lab.counts(rule)).toEqual(await flows.lab.counts(rule));
    lab.setSettings({ timeouts: { established: 1, "time-wait": 1 } });
    await vi.waitFor(async () => expect(await lab.entries()).toEqual([]), { timeout: 50_000 });
    expect(await lab.counts(rule)).toEqual({ rule: 0, sources: [] });
  });
});
