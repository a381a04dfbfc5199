// A packet on its way from XDP through two TC programs, with a commit between any two of them: all judge it by the
// generation that the first one read. Real packets on a veth pair; the commits are made by TC programs that stand
// between the others, so that they come where they must each time.
import { describe, expect, it } from "vitest";
import { type PacketEvent, packetEventCodec } from "../../src/abi/index.ts";
import {
  attachTc,
  type BpfObject,
  createTestRunner,
  type KernelDatapath,
  openObject,
  RingBuffer,
} from "../../src/bpf/index.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { firewall, packets, policyOf } from "../fixtures/firewall-documents.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeVethNamespace, type TestNamespace } from "../fixtures/network-namespace.ts";
import { applyDocuments, openTestDatapath } from "../fixtures/test-datapath.ts";

const xdpPass = 2;
const stages = { xdp: 0, tail: 1, first: 2, second: 3 } as const;
type Stage = keyof typeof stages;

/** What the programs of travel.bpf.c noted, and what they do. */
class Travel {
  readonly object: BpfObject;
  readonly #notes;
  readonly #step;
  readonly #generation;

  constructor(object: BpfObject) {
    this.object = object;
    this.#notes = object.map("notes").mmap();
    this.#step = object.map("step").mmap();
    this.#generation = object.map("generation").mmap();
  }

  /** Every program called commit moves the current generation by this. */
  commitBy(step: bigint): void {
    this.#step.words[0] = step;
  }

  setGeneration(current: bigint, oldest = 0n): void {
    this.#generation.words[0] = current;
    this.#generation.words[2] = oldest;
  }

  current(): bigint {
    return this.#generation.words[0] ?? 0n;
  }

  /** The generation of the one packet that the stage has seen; undefined if it saw none. */
  seen(stage: Stage): bigint | undefined {
    const at = stages[stage] * 2;
    const count = this.#notes.words[at];
    expect(count, `packets at ${stage}`).toBeLessThanOrEqual(1n);
    return count === 1n ? this.#notes.words[at + 1] : undefined;
  }

  forget(): void {
    this.#notes.bytes.fill(0);
  }

  close(): void {
    for (const memory of [this.#notes, this.#step, this.#generation]) memory.close();
    this.object.close();
  }
}

interface Road {
  readonly travel: Travel;
  readonly datapath: KernelDatapath;
  /** Sends one packet to `left`, and gives the generation of its event; undefined if XDP made none. */
  send(): number | undefined;
  close(): void;
}

/**
 * A veth pair. On `left` stands xdp_firewall with one rule that logs everything, unless `xdp` is absent, and behind
 * it a commit, the first TC program, another commit, and the second one.
 */
async function makeRoad(
  xdp: "native" | "generic" | "none",
  options: { readonly bound?: boolean; readonly defines?: readonly string[] } = {},
): Promise<Road> {
  const namespace = makeVethNamespace();
  namespace.run("ip", "address", "add", "10.8.0.1/24", "dev", "right");
  namespace.run("ip", "neigh", "add", "10.8.0.2", "lladdr", "02:00:00:00:00:09", "dev", "right");
  const datapath = await openTestDatapath(makePinDirectory());
  const interfaces = namespace.enter(() => datapath.interfaces());
  const { index = 0 } = interfaces.find(({ name }) => name === "left") ?? {};
  const logged = firewall("edge", [{ name: "all", action: "log" }], { interfaces: ["left"] });
  await applyDocuments(datapath, policyOf(...(options.bound === false ? [] : [logged])), { interfaces });
  const sharedMaps = { generation: datapath.object.map("generation") };
  const travel = new Travel(openObject(compileBpf("travel", options.defines), { sharedMaps }));
  const programs = ["tc_commit_one", "tc_first", "tc_commit_two", "tc_second"];
  const links = namespace.enter(() => {
    if (xdp !== "none") datapath.attach({ program: "xdp_firewall", interface: "left", index, mode: xdp });
    return programs.map((name) => {
      const program = travel.object.program(name);
      const place = { ifindex: index, interfaceName: "left", direction: "ingress", mode: "tcx" } as const;
      const attachment = attachTc({ ...place, program });
      return attachment.kind === "tcx" ? attachment.link : expect.fail("no TCX here");
    });
  });
  const ring = new RingBuffer(datapath.object.map("events"));
  return {
    travel,
    datapath,
    send() {
      travel.forget();
      sendOne(namespace);
      const events = readEvents(ring);
      expect(events.length).toBeLessThanOrEqual(1);
      return events[0]?.generation;
    },
    close() {
      ring.close();
      for (const link of links) link.close();
      travel.close();
      datapath.close();
    },
  };
}

/** The packet has passed all programs when the sender has ended. */
function sendOne(namespace: TestNamespace): void {
  const script = `const s = require("dgram").createSocket("udp4"); s.send("x", 9, "10.8.0.2", () => s.close());`;
  namespace.run(process.execPath, "-e", script);
}

function readEvents(ring: RingBuffer): PacketEvent[] {
  const events: PacketEvent[] = [];
  ring.read((view, offset) => {
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    events.push(packetEventCodec.decode(bytes, offset));
  }, 100);
  return events;
}

describeKernel("a packet's generation", () => {
  for (const mode of ["native", "generic"] as const) {
    describe(`from ${mode} XDP to TC`, () => {
      it("stays the one that XDP judged by, over two commits on the way", async () => {
        const { travel, send, close } = await makeRoad(mode);
        travel.setGeneration(7n);
        travel.commitBy(1n);
        expect(send()).toBe(7);
        expect(travel.current()).toBe(9n);
        expect([travel.seen("first"), travel.seen("second")]).toEqual([7n, 7n]);
        expect(send()).toBe(9);
        expect([travel.seen("first"), travel.seen("second")]).toEqual([9n, 9n]);
        close();
      });

      it("is another one where TC reads for itself", async () => {
        const { travel, send, close } = await makeRoad(mode, { defines: ["READS_FOR_ITSELF"] });
        travel.setGeneration(7n);
        travel.commitBy(1n);
        expect(send()).toBe(7);
        expect([travel.seen("first"), travel.seen("second")]).toEqual([8n, 9n]);
        close();
      });

      it("goes along from interfaces without any policy too", async () => {
        const { travel, send, close } = await makeRoad(mode, { bound: false });
        travel.setGeneration(7n);
        travel.commitBy(1n);
        expect(send()).toBeUndefined();
        expect([travel.seen("first"), travel.seen("second")]).toEqual([7n, 7n]);
        close();
      });

      it("gives way to the current one when a commit was taken back", async () => {
        const { travel, send, close } = await makeRoad(mode);
        travel.setGeneration(7n);
        travel.commitBy(-1n);
        expect(send()).toBe(7);
        expect([travel.seen("first"), travel.seen("second")]).toEqual([6n, 5n]);
        close();
      });

      it("gives way to the current one when its entries may be gone, and stays that", async () => {
        const { travel, send, close } = await makeRoad(mode);
        travel.setGeneration(7n, 8n);
        travel.commitBy(1n);
        expect(send()).toBe(7);
        expect([travel.seen("first"), travel.seen("second")]).toEqual([8n, 8n]);
        close();
      });
    });
  }

  it("is read by the first TC program where there is no XDP, and handed to the second", async () => {
    const { travel, send, close } = await makeRoad("none");
    travel.setGeneration(7n);
    travel.commitBy(1n);
    expect(send()).toBeUndefined();
    expect([travel.seen("first"), travel.seen("second")]).toEqual([8n, 8n]);
    close();
  });

  for (const { room, defines, metadata } of [
    { room: "with room for metadata", defines: [], metadata: 32 },
    { room: "without room for metadata", defines: ["NO_METADATA"], metadata: 0 },
  ]) {
    it(`survives a tail call ${room}`, () => {
      const travel = new Travel(openObject(compileBpf("travel", defines)));
      travel.setGeneration(7n);
      travel.commitBy(1n);
      const { verdict, metadataBytes } = createTestRunner(travel.object.program("xdp_caller")).run(
        packets.web,
      );
      expect({ verdict, metadataBytes }).toEqual({ verdict: xdpPass, metadataBytes: metadata });
      expect(travel.current()).toBe(8n);
      expect([travel.seen("xdp"), travel.seen("tail")]).toEqual([7n, 7n]);
      travel.close();
    });
  }
});
