// TC programs of an object of their own next to the firewall: maps that both share, hooks and their order, packets on
// the wire, and everything that happens to links: attaching, taking back, upgrades that fail or are killed.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { systemClock } from "../../src/base/index.ts";
import {
  attachTc,
  type KernelDatapath,
  listPins,
  openDatapath,
  openObject,
  openPinnedDatapath,
  uninstallDatapath,
} from "../../src/bpf/index.ts";
import type { Attachment } from "../../src/compile/index.ts";
import { runTransaction } from "../../src/reconcile/index.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { FaultyDatapath } from "../fixtures/faulty-datapath.ts";
import { firewall, policyOf } from "../fixtures/firewall-documents.ts";
import { giveAddresses, hookPrograms, readSights, sendOne, withHooks } from "../fixtures/hooks-world.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { stepAfter } from "../fixtures/steps.ts";
import { planDocuments } from "../fixtures/test-datapath.ts";
import { current, optionsOf, small, World } from "../fixtures/upgrade-world.ts";

const passAll = policyOf(firewall("edge", [{ name: "all", action: "pass" }]));
const incoming = ["hook_early", "hook_middle", "hook_late"];

/** The firewall on both ends, and these programs. */
async function makeWorld(programs: readonly string[]): Promise<World> {
  const world = new World(withHooks(), ["xdp_firewall", ...programs]);
  giveAddresses(world.namespace);
  return world.install(passAll);
}

function listHooks(world: World, datapath: Pick<KernelDatapath, "attached">): string[] {
  const attached = world.namespace.enter(() => datapath.attached());
  return attached
    .filter(({ mode }) => mode === "tcx")
    .map((a) => `${a.program} on ${a.interface}${a.current ? "" : " (another)"}`);
}

function attachmentOn(world: World, program: string): Attachment {
  return { program, interface: "left", index: world.index, mode: "generic" };
}

describeKernel("TC programs of another object", () => {
  it("share the maps that the firewall has by the same name, and add their own", async () => {
    const world = await makeWorld(hookPrograms);
    await world.with(withHooks(), small, async (datapath) => {
      const ids = [...datapath.object.maps.values()].map(({ id }) => id);
      for (const program of datapath.object.programs.values())
        expect(program.mapIds(), program.name).toEqual(expect.arrayContaining(ids));
      const before = (await datapath.readCounters("rule_counters")).map(({ packets }) => packets);
      sendOne(world.namespace);
      const after = (await datapath.readCounters("rule_counters")).map(({ packets }) => packets);
      // tc_hooks.bpf.c counts in what the firewall's object made, and so does the firewall.
      const hits = after.flatMap((packets, i) => (packets === before[i] ? [] : [i]));
      expect(hits).toEqual([...new Set([0, 1, 2, 3, world.ruleId])].sort((a, b) => a - b));
    });
    const maps = listPins(`${world.pins}/maps`).map(({ name }) => name);
    expect(maps).toEqual([...Object.keys(current.abi.maps), "sights", "turns"].sort());
  });

  it("are refused where they and the firewall do not mean the same by a name", async () => {
    const options = optionsOf(makePinDirectory(), current, small);
    const objects = [...withHooks().objects, ...withHooks(["LARGER"], { ...current, objects: [] }).objects];
    await expect(openDatapath({ ...options, objects })).rejects.toThrow(
      expect.objectContaining({
        code: "layout-conflict",
        message: expect.stringContaining("sight: size is 32, expected 24"),
      }),
    );
    expect(listPins(options.pinDirectory)).toEqual([]);
  });

  for (const order of [hookPrograms, hookPrograms.toReversed()]) {
    it(`judge by XDP's generation, in the order of the chain, attached as ${order.join(", ")}`, async () => {
      const world = await makeWorld([]);
      await world.with(withHooks(), small, (datapath) => {
        const { namespace, index } = world;
        // Somebody else's program stands in front of ours and commits between XDP and TC.
        const sharedMaps = { generation: datapath.object.map("generation") };
        const foreign = openObject(compileBpf("travel"), { sharedMaps });
        const step = foreign.map("step").mmap();
        step.words[0] = 1n;
        const place = { ifindex: index, interfaceName: "left", direction: "ingress", mode: "tcx" } as const;
        const program = foreign.program("tc_commit_one");
        const committing = namespace.enter(() => attachTc({ ...place, program }));
        const right = namespace.enter(() => datapath.interfaces()).find(({ name }) => name === "right");
        namespace.enter(() => {
          for (const name of order) {
            const attachment = attachmentOn(world, name);
            const isOut = name === "hook_out";
            datapath.attach(
              isOut ? { ...attachment, interface: "right", index: right?.index ?? 0 } : attachment,
            );
          }
        });
        const generation = Number(datapath.generation().current);
        sendOne(namespace);
        expect(Number(datapath.generation().current)).toBe(generation + 1);
        expect(readSights(world.pins)).toEqual([
          { packets: 1, generation, turn: 2 },
          { packets: 1, generation, turn: 3 },
          { packets: 1, generation, turn: 4 },
          { packets: 1, generation, turn: 1 },
        ]);
        if (committing.kind === "tcx") committing.link.close();
        step.close();
        foreign.close();
      });
    });
  }

  it("are attached once, found again, and taken back", async () => {
    const world = await makeWorld([]);
    const left = (name: string) => `${name} on left`;
    await world.with(withHooks(), small, (datapath) => {
      const attach = (name: string) =>
        world.namespace.enter(() => datapath.attach(attachmentOn(world, name)));
      const undos = hookPrograms.map(attach);
      expect(hookPrograms.map(attach)).toEqual(hookPrograms.map(() => undefined));
      expect(listHooks(world, datapath)).toEqual(hookPrograms.map(left).sort());
      world.namespace.enter(() => undos[0]?.());
      datapath.detach("hook_middle", world.index);
      expect(listHooks(world, datapath)).toEqual([left("hook_early"), left("hook_out")]);
      sendOne(world.namespace);
      expect(readSights(world.pins).map(({ packets }) => packets)).toEqual([1, 0, 0, 0]);
    });
    const { tables, abi } = withHooks();
    const reader = openPinnedDatapath({ pinDirectory: world.pins, tables, abi });
    expect(reader && listHooks(world, reader)).toEqual([left("hook_early"), left("hook_out")]);
    reader?.close();
    const { detached } = world.namespace.enter(() => uninstallDatapath(world.pins));
    expect(detached.map(({ program, interface: name }) => `${program} ${name}`).sort()).toEqual([
      "hook_early left",
      "hook_out left",
      "xdp_firewall left",
      "xdp_firewall right",
    ]);
    sendOne(world.namespace);
    expect(world.namespace.run("bpftool", "net", "show")).not.toContain("hook_");
  });

  it("are not attached without a place in the chain", async () => {
    const world = await makeWorld([]);
    const { chain: _, ...homeless } = withHooks();
    await world.with(homeless, small, (datapath) => {
      const attach = () => world.namespace.enter(() => datapath.attach(attachmentOn(world, "hook_out")));
      expect(attach).toThrow(expect.objectContaining({ code: "tc-program-homeless" }));
      expect(listHooks(world, datapath)).toEqual([]);
    });
  });

  it("leave nothing behind when their interface goes", async () => {
    const world = await makeWorld(hookPrograms);
    world.namespace.run("ip", "link", "delete", "left");
    await world.with(withHooks(), small, (datapath) => {
      expect(world.namespace.enter(() => datapath.attached())).toEqual([]);
    });
    expect(listPins(`${world.pins}/links`)).toEqual([]);
  });

  it("leave nothing behind when their interface goes while the agent runs", async () => {
    const world = await makeWorld(hookPrograms);
    await world.with(withHooks(), small, (datapath) => {
      world.namespace.run("ip", "link", "delete", "left");
      expect(world.namespace.enter(() => datapath.attached())).toEqual([]);
      expect(listPins(`${world.pins}/links`)).toEqual([]);
    });
  });

  it("are taken back with a transaction that fails at any operation", async () => {
    const world = await makeWorld([]);
    await world.with(withHooks(), small, async (datapath) => {
      const attach = hookPrograms.map((name) => attachmentOn(world, name));
      const documents = policyOf(firewall("edge", [{ name: "all", action: "drop" }]));
      const interfaces = [{ name: "eth0", index: world.index }];
      let taken = 0;
      for (let failAt = 0, done = false; !done; failAt++) {
        const { plan } = await planDocuments(datapath, documents, { interfaces, rulesMax: small.rulesMax });
        const faulty = new InNamespace(world, datapath, { failAt, kind: "once" });
        const { current: before } = datapath.generation();
        const transaction = { ...plan.transaction, attach, detach: [] };
        await runTransaction(faulty, transaction, { clock: systemClock }).catch(() => undefined);
        done = datapath.generation().current !== before;
        if (!done && faulty.done.length > 0) taken++;
        expect(listHooks(world, datapath)).toHaveLength(done ? hookPrograms.length : 0);
      }
      expect(taken).toBeGreaterThan(0);
    });
  });

  it("are moved by an upgrade of their own build", async () => {
    const world = await makeWorld(incoming);
    const [firewalls, hooks] = [world.running("xdp_"), world.running("hook_")];
    expect(await world.upgrade(withHooks(["REBUILT"]))).toEqual([
      "hook_early, hook_late, hook_middle: another build, on 2 of 2 interfaces",
    ]);
    expect(world.running("xdp_")).toEqual(firewalls);
    expect(world.running("hook_").filter((id) => hooks.includes(id))).toEqual([]);
    sendOne(world.namespace);
    expect(readSights(world.pins).map(({ turn }) => turn)).toEqual([1, 2, 3, 0]);
  });

  it("come with an upgrade, and keep a version that lacks them from taking over until they are gone", async () => {
    const world = await new World().install(passAll);
    giveAddresses(world.namespace);
    expect(await world.upgrade(withHooks())).toEqual(
      expect.arrayContaining([
        "sights: new",
        "turns: new",
        "xdp_firewall: loaded anew for other maps, on 2 of 2 interfaces",
      ]),
    );
    await world.with(withHooks(), small, (datapath) => {
      world.namespace.enter(() => datapath.attach(attachmentOn(world, "hook_late")));
    });
    await expect(world.upgrade(current)).rejects.toThrow(
      "Cannot take over program hook_late: it is attached, and this version does not have it",
    );
    await world.with(withHooks(), small, (datapath) => datapath.detach("hook_late", world.index));
    expect(await world.upgrade(current)).toEqual(expect.arrayContaining(["turns: dropped"]));
  });

  const script = fileURLToPath(new URL("../fixtures/upgrade-child.ts", import.meta.url));

  it("go on after a kill at any step of an upgrade, like the firewall", { timeout: 240_000 }, async () => {
    const versions = [withHooks(), withHooks(["REBUILT"])] as const;
    const sizes = [small, { ...small, rulesMax: 68 }] as const;
    const world = await makeWorld(hookPrograms);
    let packets = 0;
    const expectWhole = () => {
      sendOne(world.namespace);
      packets++;
      const sights = readSights(world.pins);
      expect(sights.map((sight) => sight.packets)).toEqual([packets, packets, packets, packets]);
      expect(sights.map(({ turn }) => turn - 4 * packets)).toEqual([-2, -1, 0, -3]);
    };
    let steps = 0;
    let dieAfter = 1;
    for (let at: 0 | 1 = 0, killed = true; killed; steps++, dieAfter = stepAfter(dieAfter)) {
      const next: 0 | 1 = at === 0 ? 1 : 0;
      const options = optionsOf(world.pins, versions[next], sizes[next]);
      const request = JSON.stringify({ options, dieAfter });
      const child = spawnSync(process.execPath, ["--import", "tsx", script], {
        encoding: "utf8",
        input: request,
      });
      killed = child.signal === "SIGKILL";
      if (!killed) expect(child).toMatchObject({ status: 0 });
      expectWhole();
      if (steps % 3 !== 2) at = next;
      await world.with(versions[at], sizes[at], (datapath) => {
        expect(listHooks(world, datapath).filter((text) => text.endsWith("(another)"))).toEqual([]);
        expect(listHooks(world, datapath)).toHaveLength(2 * hookPrograms.length);
      });
      expectWhole();
    }
    expect(steps).toBeGreaterThan(6);
    const { abi } = versions[0];
    const pins = Object.keys(abi.maps).length + abi.programs.length + 2 * (1 + hookPrograms.length);
    expect(listPins(world.pins)).toHaveLength(pins);
  });

  it("go on after a failure at any step of an upgrade", { timeout: 240_000 }, async () => {
    const versions = [withHooks(), withHooks(["REBUILT"])] as const;
    const world = await makeWorld(hookPrograms);
    let round = 0;
    for (let failAt = 1, failed = true; failed; failAt = stepAfter(failAt)) {
      const version = versions[round++ % 2 === 0 ? 1 : 0];
      const before = world.running();
      let step = 0;
      let last = "";
      const observe = (name: string) => {
        last = name;
        if (++step === failAt) throw new Error("planned");
      };
      const options = { ...optionsOf(world.pins, version, small), observe };
      failed = await openDatapath(options)
        .then(
          (datapath) => void datapath.close(),
          (error: Error) => expect(error.message).toBe("planned"),
        )
        .then(() => step >= failAt);
      if (failed && last.startsWith("moved link")) expect(world.running()).toEqual(before);
      sendOne(world.namespace);
      expect(readSights(world.pins).map(({ packets }) => packets)).toEqual([round, round, round, round]);
      await world.upgrade(version);
    }
  });
});

/** A faulty datapath whose interfaces are those of a namespace; notes what was attached. */
class InNamespace extends FaultyDatapath {
  readonly #world: World;
  readonly done: string[] = [];

  constructor(world: World, inner: KernelDatapath, fault: ConstructorParameters<typeof FaultyDatapath>[1]) {
    super(inner, fault);
    this.#world = world;
  }

  override attach(attachment: Attachment): (() => void) | undefined {
    const back = this.#world.namespace.enter(() => super.attach(attachment));
    this.done.push(attachment.program);
    return back;
  }
}
