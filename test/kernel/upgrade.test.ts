// One version of the datapath in the place of another, in the real kernel: later and earlier layouts, other capacities,
// failures and kills after every step, packets on the wire. What packets meet is asked of the program that the link
// runs, whoever put it there.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterEach, expect, it } from "vitest";
import { offsetOf } from "../../src/abi/index.ts";
import {
  type BpfMap,
  type KernelDatapath,
  listPins,
  openDatapath,
  openPinnedDatapath,
} from "../../src/bpf/index.ts";
import { firewall, policyOf } from "../fixtures/firewall-documents.ts";
import { buildVariant, laterEdits, payloadOf, rebuiltEdits } from "../fixtures/firewall-variants.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import type { TestNamespace } from "../fixtures/network-namespace.ts";
import { stepAfter } from "../fixtures/steps.ts";
import { current, officePolicy, optionsOf, small, World } from "../fixtures/upgrade-world.ts";

describeKernel("an upgrade of the datapath", () => {
  const children: ChildProcess[] = [];
  afterEach(() => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
  });

  const script = fileURLToPath(new URL("../fixtures/upgrade-child.ts", import.meta.url));
  const good = ["2 1", "2 1"];
  const later = () => buildVariant(laterEdits);
  const rebuilt = () => buildVariant(rebuiltEdits);

  it("takes over policy, ids, counters and generation into later layouts, and back", async () => {
    const world = await new World().install();
    const before = await world.with(current, small, (datapath) => world.view(datapath));
    expect(world.verdicts()).toEqual(good);
    const changes = await world.with(later(), small, async (datapath) => {
      expect(await world.hits(datapath)).toBe(2);
      expect(datapath.generation()).toEqual(before.generation);
      return datapath.changes;
    });
    expect(changes).toEqual(
      expect.arrayContaining([
        "notes: new",
        "fw_rules: field colour added",
        "fw_rules: field documentId is uint32 and was uint16",
        "interfaces: field zone added",
        "directory: field text has 192 bytes and had 160",
        "address_set_v4: field deadline added",
        "rule_counters: field errors added",
        "applied: field approvedS added",
        "generation: field begun added",
        "fw_settings: field burst added",
        "xdp_firewall: another build, on 2 of 2 interfaces",
      ]),
    );
    expect(world.verdicts()).toEqual(good);
    expect(await world.upgrade(later())).toEqual([]);
    expect(world.verdicts()).toEqual(good);
    await world.with(current, small, async (datapath) => {
      expect(await world.view(datapath)).toEqual(before);
      expect(await world.hits(datapath)).toBe(6);
    });
    expect(world.verdicts()).toEqual(good);
    expect(listPins(world.pins).map(({ path }) => path)).not.toContain(`${world.pins}/maps/notes`);
  });

  it("lets readers of another version know that they are", async () => {
    const world = await new World().install();
    await world.upgrade(later());
    const read = () => openPinnedDatapath({ pinDirectory: world.pins, tables: current.tables });
    expect(read).toThrow(expect.objectContaining({ code: "pins-foreign" }));
  });

  /** Writes a field of the first rule that packets see, on this side of it. */
  const paint = (datapath: KernelDatapath, value: number, hidden: boolean) => {
    const map: BpfMap = datapath.object.map("fw_rules");
    const table = later().tables.find(({ name }) => name === "fw_rules");
    if (table === undefined) throw new Error("no rules");
    const payload = payloadOf(later(), "fw_rules");
    const key = new Uint32Array(1);
    for (; key[0] !== 64; key[0] = (key[0] ?? 0) + 1) {
      const raw = map.lookup(new Uint8Array(key.buffer)) ?? new Uint8Array(0);
      const view = new DataView(raw.buffer);
      const seen = Number(view.getBigUint64(0, true) & 1n);
      if (raw[table.sideOffset + seen * table.payloadSize + table.presenceOffset] === 0) continue;
      const side = hidden ? seen ^ 1 : seen;
      view.setUint32(table.sideOffset + side * table.payloadSize + offsetOf(payload, "colour"), value, true);
      map.update(new Uint8Array(key.buffer), raw);
      return;
    }
    throw new Error("no rule");
  };

  it("refuses an earlier version that has no room for a field in use, and takes it when it is not", async () => {
    const world = await new World().install();
    await world.with(later(), small, (datapath) => paint(datapath, 7, false));
    const ids = world.running();
    await expect(world.upgrade(current)).rejects.toThrow(
      expect.objectContaining({
        code: "downgrade-refused",
        message:
          "Cannot take over map fw_rules: this version has no room for what its field side.colour holds",
      }),
    );
    expect(world.running()).toEqual(ids);
    expect(world.verdicts()).toEqual(good);
    expect(await world.upgrade(later())).toEqual([]);
    await world.with(later(), small, (datapath) => {
      paint(datapath, 0, false);
      paint(datapath, 7, true);
    });
    expect(await world.upgrade(current)).toContain("fw_rules: field colour removed");
    expect(world.verdicts()).toEqual(good);
  });

  it("refuses an earlier version that does not have a map in use, and takes it when it is empty", async () => {
    const world = await new World().install();
    const note = (datapath: KernelDatapath) => datapath.object.map("notes");
    await world.with(later(), small, (datapath) => {
      const map = note(datapath);
      map.update(new Uint8Array(4), new Uint8Array(map.valueBytes));
    });
    await expect(world.upgrade(current)).rejects.toThrow(
      "Cannot take over map notes: this version does not have it, and it holds 1 entries",
    );
    expect(world.verdicts()).toEqual(good);
    await world.with(later(), small, (datapath) => note(datapath).remove(new Uint8Array(4)));
    expect(await world.upgrade(current)).toContain("notes: dropped");
    expect(world.verdicts()).toEqual(good);
  });

  it("makes tables larger and smaller, and refuses to make them too small", async () => {
    const world = await new World().install();
    const before = await world.with(current, small, (datapath) => world.view(datapath));
    expect(world.verdicts()).toEqual(good);
    const large = { rulesMax: 4096, addressesMax: 1_000_000 };
    expect(await world.upgrade(current, large)).toEqual(
      expect.arrayContaining([
        "address_set_v4: 4,211 -> 1,000,000 entries",
        "fw_rules: 64 -> 4,096 entries",
        "rule_counters: 128 -> 8,192 entries",
      ]),
    );
    expect(world.verdicts()).toEqual(good);
    await world.with(current, small, async (datapath) => {
      expect(await world.view(datapath)).toEqual(before);
      expect(await world.hits(datapath)).toBe(4);
    });
    await expect(world.upgrade(current, { ...small, addressesMax: 2 })).rejects.toThrow(
      expect.objectContaining({
        code: "migration-refused",
        message: "Cannot make map address_set_v4 smaller: 2 entries are wanted, 3 are in use",
      }),
    );
    expect(world.verdicts()).toEqual(good);
    expect(await world.upgrade(current)).toEqual([]);
  });

  it("moves rules together where a smaller table has no room for the gaps between them", async () => {
    const rules = Array.from({ length: 20 }, (_, i) => ({
      name: `r${i}`,
      match: { destinationPorts: [1000 + i] },
    }));
    const web = { name: "web", match: { protocol: "tcp" as const, destinationPorts: [80] } };
    const world = await new World().install(policyOf(firewall("edge", [...rules, web])));
    const order = (datapath: KernelDatapath) => world.view(datapath).then(({ view }) => view["fw_rules"]);
    const before = await world.with(current, small, order);
    await world.with(current, { ...small, rulesMax: 24 }, async (datapath) => {
      expect(await order(datapath)).toEqual(before);
    });
    await expect(world.upgrade(current, { ...small, rulesMax: 16 })).rejects.toThrow("are in use");
  });

  it("goes on after a failure at any step, with either version", { timeout: 240_000 }, async () => {
    const world = await new World().install();
    const before = await world.with(current, small, (datapath) => world.view(datapath));
    let passed = 0;
    for (let failAt = 1, ended = false; !ended; failAt = stepAfter(failAt)) {
      ended = true;
      for (const [target, other] of [
        [later(), later()],
        [current, later()],
        [current, current],
      ] as const) {
        let step = 0;
        let last = "";
        const observe = (name: string) => {
          last = name;
          if (++step === failAt) throw new Error(`planned at ${failAt}`);
        };
        const before = world.running();
        const attempt = openDatapath({ ...optionsOf(world.pins, target, small), observe });
        const failed = await attempt.then(
          (datapath) => datapath.close(),
          (error: Error) => error.message,
        );
        if (failed !== undefined) {
          expect(failed).toBe(`planned at ${failAt}`);
          ended = false;
          if (last === "filled" || last.startsWith("moved link")) expect(world.running()).toEqual(before);
        }
        expect(world.verdicts()).toEqual(good);
        passed += 2;
        await world.upgrade(other);
        expect(world.verdicts()).toEqual(good);
        passed += 2;
      }
    }
    await world.with(current, small, async (datapath) => {
      expect(await world.view(datapath)).toEqual(before);
      expect(await world.hits(datapath)).toBe(passed);
    });
  });

  it("goes on after a kill at any step, and leaves nothing behind", { timeout: 240_000 }, async () => {
    const sizes = [
      { rulesMax: 64, addressesMax: 4217 },
      { rulesMax: 68, addressesMax: 4219 },
    ] as const;
    const world = await new World().install(officePolicy(), sizes[0]);
    const before = await world.with(current, sizes[0], (datapath) => world.view(datapath));
    let steps = 0;
    let passed = 0;
    let dieAfter = 1;
    for (let at: 0 | 1 = 0, killed = true; killed; steps++, dieAfter = stepAfter(dieAfter)) {
      const next: 0 | 1 = at === 0 ? 1 : 0;
      const request = JSON.stringify({
        options: optionsOf(world.pins, current, sizes[next]),
        dieAfter,
      });
      const child = spawnSync(process.execPath, ["--import", "tsx", script], {
        encoding: "utf8",
        input: request,
      });
      killed = child.signal === "SIGKILL";
      if (!killed) expect(child).toMatchObject({ status: 0 });
      expect(world.verdicts()).toEqual(good);
      // Now and then the next start wants what was there before.
      if (steps % 3 !== 2) at = next;
      await world.upgrade(current, sizes[at]);
      expect(world.verdicts()).toEqual(good);
      passed += 4;
    }
    expect(steps).toBeGreaterThan(6);
    await world.upgrade(current, sizes[0]);
    await world.with(current, sizes[0], async (datapath) => {
      expect(await world.view(datapath)).toEqual(before);
      expect(await world.hits(datapath)).toBe(passed);
    });
    await expect.poll(() => mapsOfSize([4217, 4219]), { timeout: 20_000 }).toEqual(["4217", "4217"]);
    const names = listPins(world.pins).map(({ path }) => path.slice(world.pins.length + 1));
    expect(names).toHaveLength(Object.keys(current.abi.maps).length + current.abi.programs.length + 2);
    expect(spawnSync("find", [world.pins, "-name", "~*"], { encoding: "utf8" }).stdout).toBe("");
  });

  it("takes over the same layouts without the right to open what is not pinned", async () => {
    const world = await new World().install();
    const start = (sizes: typeof small, variant = current) => {
      const request = JSON.stringify({ options: optionsOf(world.pins, variant, sizes), dieAfter: 0 });
      const [setpriv, ...less] = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"];
      return spawnSync(setpriv ?? "", [...less, process.execPath, "--import", "tsx", script], {
        encoding: "utf8",
        input: request,
      });
    };
    expect(start(small)).toMatchObject({ status: 0, stderr: "" });
    expect(world.verdicts()).toEqual(good);
    expect(start({ ...small, addressesMax: 5000 })).toMatchObject({ status: 0, stderr: "" });
    expect(world.verdicts()).toEqual(good);
    expect(start({ ...small, addressesMax: 5000 }, rebuilt()).stderr).toContain(
      "this process may not look at the layout of its maps",
    );
    expect(world.verdicts()).toEqual(good);
    expect(await world.upgrade(current, { ...small, addressesMax: 5000 })).toEqual([]);
  });

  it("leaves no packet on the wire unjudged or uncounted", { timeout: 120_000 }, async () => {
    const world = await new World().install(policyOf(firewall("edge", [{ name: "all", action: "drop" }])));
    const { run } = world.namespace;
    // Only the left end judges; the right one would count what the kernel answers.
    world.namespace.enter(() => {
      run("ip", "addr", "add", "10.9.0.1/24", "dev", "right");
      const mac = JSON.parse(run("ip", "-j", "link", "show", "left"))[0].address;
      run("ip", "neigh", "add", "10.9.0.2", "lladdr", mac, "dev", "right");
    });
    const sent = () =>
      Number(JSON.parse(run("ip", "-j", "-s", "link", "show", "right"))[0].stats64.tx.packets);
    const reached = () => Number(run("cat", "/proc/net/snmp").match(/^Ip: \d+ \d+ (\d+)/m)?.[1]);
    const arrivedBefore = reached();
    const sentBefore = sent();
    const stop = sendDatagrams(world.namespace, children);
    await expect.poll(sent).toBeGreaterThan(sentBefore + 1000);
    for (const variant of [rebuilt(), current, rebuilt(), current]) await world.upgrade(variant);
    const moved = sent();
    for (const variant of [later(), current]) await world.upgrade(variant);
    await world.upgrade(current, { rulesMax: 80, addressesMax: 5000 });
    expect(moved).toBeGreaterThan(sentBefore + 1000);
    expect(sent()).toBeGreaterThan(moved + 1000);
    await stop();
    expect(reached()).toBe(arrivedBefore);
    const judged = () =>
      world.with(current, { rulesMax: 80, addressesMax: 5000 }, (datapath) =>
        datapath
          .readCounters("fw_reasons")
          .then((all) => all.reduce((sum, { packets: n }) => sum + Number(n), 0)),
      );
    expect(await judged()).toBe(sent() - sentBefore);
  });
});

/** Capacities of the address tables that are in the kernel, of these sizes that nothing else has. */
function mapsOfSize(sizes: readonly number[]): string[] {
  const { stdout } = spawnSync("bpftool", ["-j", "map", "show"], { encoding: "utf8" });
  const maps = JSON.parse(stdout) as { readonly name?: string; readonly max_entries?: number }[];
  return maps
    .filter((map) => map.name?.startsWith("address_set_v") && sizes.includes(map.max_entries ?? 0))
    .map((map) => String(map.max_entries));
}

/** Sends datagrams from the right end to the left one as fast as it can. */
function sendDatagrams(namespace: TestNamespace, children: ChildProcess[]): () => Promise<void> {
  const script = `
    const socket = require("node:dgram").createSocket("udp4");
    const send = () => socket.send("x", 9, "10.9.0.2", send);
    socket.bind(0, "10.9.0.1", send);`;
  const child = spawn("nsenter", [
    `--net=/run/netns/${namespace.name}`,
    "--",
    process.execPath,
    "-e",
    script,
  ]);
  children.push(child);
  return () =>
    new Promise((resolve) => {
      child.once("exit", () => resolve());
      child.kill("SIGKILL");
    });
}
