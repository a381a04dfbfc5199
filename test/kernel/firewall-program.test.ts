// What the program does besides its verdict: counters that outlive commits, events and their bound, packets longer
// than one buffer, and the sums that keep a reader from taking another key's entry for its own.
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  EventFlag,
  EventLayout,
  eventBudgetCodec,
  eventKindNames,
  FwReason,
  type PacketEvent,
  packetEventCodec,
} from "../../src/abi/index.ts";
import { createTestRunner, type KernelDatapath, RingBuffer, type TestRunner } from "../../src/bpf/index.ts";
import type { HostInterface } from "../../src/compile/index.ts";
import { firewall, packets, policyOf } from "../fixtures/firewall-documents.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeVethNamespace, type TestNamespace } from "../fixtures/network-namespace.ts";
import { addressBytes, ethernet, ipv4, payload, raw } from "../fixtures/packets.ts";
import { applyDocuments, openTestDatapath } from "../fixtures/test-datapath.ts";

const xdpDrop = 1;
const xdpPass = 2;

describeKernel("xdp_firewall", () => {
  const pins = makePinDirectory();
  let namespace: TestNamespace;
  let datapath: KernelDatapath;
  let runner: TestRunner;
  let interfaces: readonly HostInterface[];
  let ifindex: number;

  beforeAll(async () => {
    namespace = makeVethNamespace();
    datapath = await openTestDatapath(pins);
    runner = createTestRunner(datapath.object.program("xdp_firewall"));
    interfaces = namespace
      .enter(() => datapath.interfaces())
      .map((i) => (i.name === "left" ? { ...i, name: "eth0" } : i));
    ifindex = interfaces.find((i) => i.name === "eth0")?.index ?? 0;
  });
  afterAll(() => {
    datapath?.close();
  });

  const apply = (...documents: ReturnType<typeof firewall>[]) =>
    applyDocuments(datapath, policyOf(...documents), { interfaces });
  const send = (frame: Uint8Array, times = 1) =>
    namespace.enter(() => {
      let verdict = 0;
      for (let i = 0; i < times; i++) verdict = runner.run(frame, { ifindex }).verdict;
      return verdict;
    });
  const hits = async (ruleIds: ReadonlyMap<string, number>, name: string) =>
    (await datapath.readCounters("rule_counters"))[ruleIds.get(name) ?? -1];

  it("counts packets and bytes for each rule, over commits and moves, until the name goes", async () => {
    const web = { name: "web", match: { protocol: "tcp" as const, destinationPorts: [80] } };
    const first = await apply(firewall("edge", [web]));
    expect(send(packets.web, 3)).toBe(xdpPass);
    const second = await apply(
      firewall("edge", [
        { name: "new", match: { protocol: "udp" } },
        { ...web, action: "drop" },
      ]),
    );
    expect(second.ruleIds.get("edge/web")).toBe(first.ruleIds.get("edge/web"));
    expect(send(packets.web, 2)).toBe(xdpDrop);
    expect(await hits(second.ruleIds, "edge/web")).toEqual({
      packets: 5n,
      bytes: BigInt(5 * packets.web.length),
    });
    await apply(firewall("edge", []));
    const again = await apply(firewall("edge", [web]));
    expect(await hits(again.ruleIds, "edge/web")).toEqual({ packets: 0n, bytes: 0n });
  });

  it("sends an event for what a rule logs, audits or drops as malformed", async () => {
    const { ruleIds, result } = await apply(
      firewall("audited", [{ name: "would-drop", action: "drop" }], { mode: "audit", order: 1 }),
      firewall("edge", [
        { name: "note", action: "log" },
        { name: "web", log: true, match: { destinationPorts: [80] } },
      ]),
    );
    const ring = new RingBuffer(datapath.object.map("events"));
    const events: PacketEvent[] = [];
    const drain = () =>
      ring.read(
        (view, offset) =>
          events.push(
            packetEventCodec.decode(new Uint8Array(view.buffer, view.byteOffset, view.byteLength), offset),
          ),
        100,
      );
    drain();
    events.length = 0;
    send(packets.web);
    send(ethernet({}, payload(0x0800, new Uint8Array(8))));
    drain();
    ring.close();
    expect(
      events.map((e) => [
        e.ruleId,
        e.flags & EventFlag.drop ? "drop" : "pass",
        eventKindNames[e.flags >> EventLayout["kind-shift"]],
        e.reason,
      ]),
    ).toEqual([
      [ruleIds.get("audited/would-drop"), "drop", "audit", FwReason["rule-drop"]],
      [ruleIds.get("edge/note"), "pass", "rule", FwReason["rule-pass"]],
      [ruleIds.get("edge/web"), "pass", "rule", FwReason["rule-pass"]],
      [0, "drop", "malformed", FwReason["truncated-ip"]],
    ]);
    const [event] = events;
    expect(event).toMatchObject({ protocol: 6, destinationPort: 80, sourcePort: 40_000, interface: ifindex });
    expect(event?.generation).toBe(Number(result?.generation.after) & 0xffff);
    expect(Buffer.from(event?.source ?? []).subarray(0, 4)).toEqual(Buffer.from(addressBytes("10.0.0.1")));
  });

  it("bounds events and counts those that it keeps back", async () => {
    await apply(firewall("edge", [{ name: "note", action: "log" }]));
    const ring = new RingBuffer(datapath.object.map("events"));
    ring.read(() => {}, 1e6);
    const budgets = datapath.object.map("event_budgets");
    budgets.update(new Uint8Array(4), new Uint8Array(budgets.valueBytes));
    datapath.boundEvents(100);
    const started = performance.now();
    send(packets.web, 5000);
    const windows = 2 + Math.floor((performance.now() - started) / 1000);
    const seen = ring.read(() => {}, 1e6);
    const values = budgets.lookup(new Uint8Array(4)) ?? expect.fail("no budget");
    const used = Array.from({ length: budgets.cpuCount }, (_, cpu) =>
      eventBudgetCodec.decode(values, cpu * budgets.valueStride),
    ).filter(({ suppressed }) => suppressed > 0n);
    expect(used.length).toBeGreaterThan(0);
    expect(seen).toBeGreaterThanOrEqual(100 * used.length);
    expect(seen).toBeLessThanOrEqual(100 * windows * budgets.cpuCount);
    expect(used.reduce((sum, { suppressed }) => sum + Number(suppressed), seen)).toBe(5000);
    datapath.boundEvents(0);
    send(packets.web, 10);
    expect(ring.read(() => {}, 1e6)).toBe(0);
    ring.close();
    datapath.boundEvents(1000);
  });

  it("judges packets that are longer than what can be read at once", async () => {
    await apply(firewall("edge", [{ name: "big", action: "drop", match: { protocol: 253 } }]));
    const long = ethernet({}, ipv4({}, raw(253, new Uint8Array(9000))));
    expect(send(long)).toBe(xdpDrop);
    const lying = Uint8Array.from(long);
    new DataView(lying.buffer).setUint16(14 + 2, 9500);
    const reasons = await datapath.readCounters("fw_reasons");
    expect(send(lying)).toBe(xdpDrop);
    const after = await datapath.readCounters("fw_reasons");
    const truncated = FwReason["truncated-ip"];
    expect((after[truncated]?.packets ?? 0n) - (reasons[truncated]?.packets ?? 0n)).toBe(1n);
  });

  it("drops, and counts as an internal error, what another key's entry would have let through", async () => {
    // Each processor remembers what an interface's entry says at a generation: nobody has asked at this one yet.
    await apply(firewall("unasked", []));
    const map = datapath.object.map("interfaces");
    const key = new Uint8Array(4);
    new DataView(key.buffer).setUint32(0, ifindex, true);
    const value = map.lookup(key);
    if (value === undefined) throw new Error("no binding");
    const foreign = Uint8Array.from(value);
    // The sums of both sides.
    for (const at of [8, 12]) foreign[at] = (foreign[at] ?? 0) ^ 1;
    map.update(key, foreign);
    const before = await datapath.readCounters("fw_reasons");
    expect(send(packets.web)).toBe(xdpDrop);
    const after = await datapath.readCounters("fw_reasons");
    const internal = FwReason["internal-error"];
    expect((after[internal]?.packets ?? 0n) - (before[internal]?.packets ?? 0n)).toBe(1n);
    // The damage is drift, and the next transaction mends it.
    await apply(firewall("edge", []));
    expect(send(packets.web)).toBe(xdpPass);
  });
});
