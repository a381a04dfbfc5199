// What drift is: damage to ids and to the record of what is applied as well, each departure on record once, and nothing
// healed that somebody said to leave alone.
import { beforeEach, describe, expect, it } from "vitest";
import { appliedTable, directoryTable } from "../../src/compile/index.ts";
import { dropWeb, passWeb, ReconcilerWorld, tableSpecOf } from "../fixtures/reconciler-world.ts";

let world: ReconcilerWorld;

beforeEach(async () => {
  world = await ReconcilerWorld.make();
  world.source.push(passWeb);
  await world.reconciler.reconcile("start");
  world.reconciler = world.makeReconciler({ selfHeal: "warn" });
  await world.reconciler.start();
});

async function loseNames(): Promise<void> {
  const { keys } = await world.datapath.read(directoryTable);
  await world.datapath.remove(directoryTable, keys);
}

describe("drift of what no kind owns", () => {
  it("is reported and left alone: names", async () => {
    await loseNames();
    const { drift } = await world.reconciler.scan("schedule");
    expect(drift?.entries.items.map(({ action, subject }) => `${action} ${subject}`)).toContain(
      "add name of rule 1",
    );
    expect(world.outcomes()).toEqual(["applied", "drift"]);
    expect(world.datapath.generation().current).toBe(1n);
  });

  it("is reported and left alone: the record of what is applied", async () => {
    const { keys, values } = await world.datapath.read(appliedTable);
    const wrong = Uint8Array.from(values);
    for (const side of [0, 1]) {
      const at = appliedTable.sideOffset + side * appliedTable.payloadSize;
      wrong[at] = (wrong[at] ?? 0) ^ 1;
    }
    await world.datapath.write(appliedTable, keys, wrong);
    const { drift } = await world.reconciler.scan("schedule");
    expect(drift?.entries.items).toMatchObject([{ action: "change", subject: "the applied revision" }]);
    expect(world.datapath.generation().current).toBe(1n);
  });

  it("is healed without counters of rules that packets see beginning again", async () => {
    world.reconciler = world.makeReconciler();
    await world.reconciler.start();
    const cleared: number[] = [];
    world.datapath.clearCounters = async (ids: readonly number[]) => {
      cleared.push(...ids);
    };
    await loseNames();
    expect(await world.reconciler.scan("schedule")).toMatchObject({ healed: true });
    expect(world.outcomes()).toEqual(["applied", "drift", "healed"]);
    expect(cleared).toEqual([]);
  });
});

describe("drift without entries", () => {
  it("is on record each time that it is another", async () => {
    world.datapath.detach("xdp_firewall", 7);
    await world.reconciler.scan("schedule");
    await world.reconciler.scan("schedule");
    expect(world.outcomes()).toEqual(["applied", "drift"]);
    await world.datapath.setEnd(tableSpecOf("fw_rules"), 0);
    await world.reconciler.scan("schedule");
    await world.reconciler.scan("schedule");
    expect(world.outcomes()).toEqual(["applied", "drift", "drift"]);
    expect(world.attempts.attempts.at(-1)?.diagnostics).toEqual([
      "xdp_firewall is not attached to eth0",
      expect.stringContaining("packets walk fw_rules to slot 0"),
    ]);
  });
});

describe("an interrupted transaction", () => {
  it("is no drift to whoever only looks, and is told apart", async () => {
    world.source.push(dropWeb);
    const write = world.datapath.write.bind(world.datapath);
    const remove = world.datapath.remove.bind(world.datapath);
    // Dies when it has prepared the last table.
    world.datapath.write = async (spec, ...rest) => {
      await write(spec, ...rest);
      if (spec.name !== appliedTable.name) return;
      world.datapath.write = world.datapath.remove = async () => {
        throw new Error("killed");
      };
      throw new Error("killed");
    };
    await world.reconciler.reconcile("poll");
    world.datapath.write = write;
    world.datapath.remove = remove;
    const said: string[] = [];
    const log = { info() {}, warn: (_: object, message: string) => said.push(message), error() {} };
    const reader = world.makeReconciler({ log });
    await reader.learn();
    expect(await reader.drift()).toBeUndefined();
    expect(said).toEqual([
      expect.stringMatching(/^An interrupted transaction left \d+ entries that packets do not see/),
    ]);
  });
});
