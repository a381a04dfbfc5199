// Packets that pass go on at the processor of their flow: which one that is, seen by a probe behind; and that nothing is
// let through by it that the rules drop.
import { spawnSync } from "node:child_process";
import { readlinkSync } from "node:fs";
import { basename } from "node:path";
import { beforeAll, beforeEach, expect, it, vi } from "vitest";
import { connectionCodec } from "../../src/abi/index.ts";
import { attachTc, type BpfMap, type KernelDatapath, openObject } from "../../src/bpf/index.ts";
import type { FirewallRule, FirewallSteering } from "../../src/policy/index.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { conntrack, firewall, interfaceGroup, policyOf } from "../fixtures/firewall-documents.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeVethNamespace, type TestNamespace } from "../fixtures/network-namespace.ts";
import { PacketSocket } from "../fixtures/packet-socket.ts";
import { ethernet, ipv4, ipv6, tcp, udp } from "../fixtures/packets.ts";
import { applyDocuments, datapathIn, openTestDatapath } from "../fixtures/test-datapath.ts";

const flows = 40;
const ports = Array.from({ length: flows }, (_, i) => 1000 + 7 * i);

interface Sights {
  /** Packets by the processor that they went on at. */
  readonly at: readonly number[];
  /** Of them with metadata of ours. */
  readonly carried: number;
}

describeKernel("steering", () => {
  let namespace: TestNamespace;
  let datapath: KernelDatapath;
  let seen: BpfMap;
  let wire: PacketSocket;

  beforeAll(async () => {
    namespace = makeVethNamespace();
    datapath = await openTestDatapath(makePinDirectory());
    const probe = openObject(compileBpf("steered"));
    seen = probe.map("seen");
    const ifindex = indexOf();
    namespace.enter(() =>
      attachTc({
        program: probe.program("tc_steered"),
        ifindex,
        interfaceName: "left",
        direction: "ingress",
        mode: "tcx",
      }),
    );
    wire = new PacketSocket(namespace, "right");
    return () => {
      datapath.close();
      probe.close();
    };
  });

  beforeEach(() => {
    for (let key = 0; key < 4; key++) seen.update(u32(key), new Uint8Array(8));
  });

  const indexOf = () => Number(namespace.run("ip", "-o", "link", "show", "left").split(":")[0]);

  const apply = async (
    steering: FirewallSteering | undefined,
    options: {
      rules?: readonly Partial<FirewallRule>[];
      mode?: "native" | "generic";
      tracked?: boolean;
    } = {},
  ) => {
    const { rules = [{}], mode = "native", tracked = false } = options;
    const documents = policyOf(
      interfaceGroup("in", ["left"], { attach: mode }),
      firewall("edge", rules, { interfaces: ["in"], ...(steering !== undefined && { steering }) }),
      ...(tracked ? [conntrack("all", ["in"])] : []),
    );
    const interfaces = namespace.enter(() => datapath.interfaces());
    return applyDocuments(datapathIn(namespace, datapath), documents, { interfaces, attach: true });
  };

  /** Sends frames and waits for those that shall come through, all unless `least` says otherwise. */
  const send = async (frames: readonly Uint8Array[], least = frames.length): Promise<Sights> => {
    const before = total();
    for (const frame of frames) wire.send(frame);
    await vi.waitFor(() => expect(total() - before).toBeGreaterThanOrEqual(least), 5000);
    return sights();
  };

  const total = () => sights().at.reduce((sum, n) => sum + n, 0);

  const sights = (): Sights => {
    const value = (key: number) =>
      Number(new DataView((seen.lookup(u32(key)) ?? new Uint8Array(8)).slice().buffer).getBigUint64(0, true));
    return { at: [value(0), value(1)], carried: value(2) };
  };

  const there = ports.map((port) =>
    ethernet(
      {},
      ipv4(
        { source: "198.51.100.7", destination: "192.0.2.1" },
        udp({ sourcePort: port, destinationPort: 53 }),
      ),
    ),
  );
  const back = ports.map((port) =>
    ethernet(
      {},
      ipv4(
        { source: "192.0.2.1", destination: "198.51.100.7" },
        udp({ sourcePort: 53, destinationPort: port }),
      ),
    ),
  );

  it("has each flow at one processor in both directions, and flows at all", async () => {
    await apply({ cpus: "all" });
    const way: number[] = [];
    for (const frames of [there, back]) {
      for (const frame of frames) {
        const before = sights().at;
        const after = (await send([frame])).at;
        way.push(after.findIndex((n, cpu) => n > (before[cpu] ?? 0)));
      }
    }
    expect(way.slice(0, flows)).toEqual(way.slice(flows));
    expect(new Set(way)).toEqual(new Set([0, 1]));
  });

  it.each([0, 1])("has all at the one that the policy names, metadata included: %d", async (cpu) => {
    await apply({ cpus: [cpu] });
    const { at, carried } = await send([...there, ...back]);
    expect(at[cpu]).toBe(2 * flows);
    expect(carried).toBe(2 * flows);
  });

  it("spreads IPv6 and TCP too", async () => {
    await apply({ cpus: "local" });
    const frames = ports.map((sourcePort) => ethernet({}, ipv6({}, tcp({ sourcePort }))));
    const { at } = await send(frames);
    expect(at.every((n) => n > 0)).toBe(true);
    expect((at[0] ?? 0) + (at[1] ?? 0)).toBe(flows);
  });

  it("drops what rules drop, whatever the queues are", async () => {
    const drop = [{ action: "drop", match: { protocol: "udp" } }] as const;
    const last = ethernet({}, ipv4({}, tcp()));
    await apply({ cpus: [1] }, { rules: drop });
    expect((await send([...there, last], 1)).at).toEqual([0, 1]);
    await datapath.object.map("fw_cpus").removeAll(u32(1));
    await send([...there, last], 1);
    expect(total()).toBe(2);
    await apply({ cpus: "all" }, { rules: drop });
    await send([...there, ...back, last], 1);
    expect(total()).toBe(3);
  });

  it("passes where it is what comes in when its processor's queue is gone", async () => {
    await apply({ cpus: [0, 1] });
    for (const cpu of [0, 1]) await datapath.object.map("fw_cpus").removeAll(u32(cpu));
    const { at } = await send(there);
    expect((at[0] ?? 0) + (at[1] ?? 0)).toBe(flows);
    await apply(undefined);
  });

  it("loses what a full queue does not take, and lets nothing through that is dropped", async () => {
    const rules = [{ action: "drop", match: { destinationPorts: [53] } }, { action: "pass" }] as const;
    await apply({ cpus: [1] }, { rules });
    datapath.object.map("fw_cpus").update(u32(1), u32(1));
    const sent = Array.from({ length: 50 }, () => [...there, ...back]).flat();
    const { at } = await send(sent, 1);
    expect(at[0]).toBe(0);
    expect(at[1]).toBeGreaterThan(0);
    expect(at[1]).toBeLessThanOrEqual(50 * flows);
  });

  it("knows connections' rules though the first packet went on elsewhere", async () => {
    const { ruleIds } = await apply({ cpus: [1] }, { tracked: true });
    await send(there);
    const { count, values } = await datapath.object.map("connections").readAll();
    expect(count).toBe(flows);
    const rules = Array.from(
      { length: count },
      (_, i) => connectionCodec.decode(values, i * connectionCodec.size).ruleId,
    );
    expect(new Set(rules)).toEqual(new Set([ruleIds.get("edge/r0")]));
  });

  it("leaves packets where they are whose rule wants something of TC, and in generic mode", async () => {
    stayOn("0");
    await apply({ cpus: [1] });
    expect((await send(there)).at).toEqual([0, flows]);
    await apply({ cpus: [1] }, { rules: [{ mark: 7 }] });
    expect((await send(there)).at).toEqual([flows, flows]);
    await apply({ cpus: [1] }, { mode: "generic" });
    expect((await send(there)).at).toEqual([2 * flows, flows]);
    stayOn("0-1");
  });
});

/** Where this thread sends is where the kernel receives. */
function stayOn(cpus: string): void {
  const thread = basename(readlinkSync("/proc/thread-self"));
  expect(spawnSync("taskset", ["-pc", cpus, thread]).status).toBe(0);
}

function u32(number: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(number).buffer);
}
