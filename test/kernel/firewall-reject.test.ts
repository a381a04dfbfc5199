// What the program sends back for a packet that it rejects, byte by byte against answers that are built from the
// standards: all ways to answer, frames of every kind, sizes around the limits of what an error quotes, hardware
// addresses of groups, and real captures. And the bound, which processors share.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  EventFlag,
  EventLayout,
  eventKindNames,
  FwReason,
  fwReasonNames,
  type PacketEvent,
  packetEventCodec,
} from "../../src/abi/index.ts";
import { createTestRunner, type KernelDatapath, RingBuffer, type TestRunner } from "../../src/bpf/index.ts";
import type { HostInterface } from "../../src/compile/index.ts";
import { type FirewallModel, prepareModel } from "../../src/kinds/firewall/model.ts";
import type { FirewallRule } from "../../src/policy/index.ts";
import { policyNow, rejectWords } from "../fixtures/firewall-arbitraries.ts";
import { firewall, packets, policyOf } from "../fixtures/firewall-documents.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeVethNamespace, type TestNamespace } from "../fixtures/network-namespace.ts";
import { arbitraryFrame } from "../fixtures/packet-arbitraries.ts";
import { frameAfter, wrongChecksums } from "../fixtures/packet-outcome.ts";
import { ethernet, extension, ipv4, ipv6, raw, tcp, udp } from "../fixtures/packets.ts";
import { readCapture } from "../fixtures/pcap.ts";
import { applyDocuments, openTestDatapath } from "../fixtures/test-datapath.ts";

const xdpDrop = 1;
const xdpTx = 3;
const seed = Number(process.env["PENSTOCK_SEED"] ?? Date.now() % 0x7fffffff);
const captureDirectory = new URL("../../../shared/data/pcaps/", import.meta.url);

describeKernel("rejected packets", () => {
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

  /** Rejects everything in this way. */
  async function rejectAll(reject: NonNullable<FirewallRule["reject"]>): Promise<FirewallModel> {
    const isReset = reject === "tcp-reset";
    const rule = {
      action: "reject" as const,
      reject,
      ...(isReset && { match: { protocol: "tcp" as const } }),
    };
    const policy = policyOf(firewall("edge", [rule], isReset ? { default: "reject" } : {}));
    await applyDocuments(datapath, policy, { interfaces, now: policyNow });
    return prepareModel({ policy, interfaceName: "eth0", interfaces: ["eth0"], now: policyNow });
  }

  /** Compares what becomes of each frame; gives how many were answered. */
  function compare(model: FirewallModel, frames: readonly Uint8Array[]): number {
    let answered = 0;
    namespace.enter(() => {
      for (const frame of frames) {
        const judged = model.judgeFrame(frame);
        if (judged.verdict !== "reject") continue;
        const { verdict, frame: left } = runner.run(frame, { ifindex });
        const wanted = frameAfter(frame, judged);
        const facts = { seed, judged, frame: hex(frame) };
        if (wanted === undefined) {
          if (verdict !== xdpDrop) expect.fail(`sent: ${JSON.stringify({ ...facts, left: hex(left) })}`);
          continue;
        }
        answered++;
        if (verdict !== xdpTx || hex(left) !== hex(wanted)) {
          expect.fail(JSON.stringify({ ...facts, verdict, left: hex(left), wanted: hex(wanted) }));
        }
        expect(wrongChecksums(left), hex(left)).toEqual([]);
      }
    });
    return answered;
  }

  for (const [i, word] of rejectWords.entries()) {
    it(`are answered with ${word} by the standards, or not at all`, { timeout: 120_000 }, async () => {
      console.log(`${word}: seed ${seed}`);
      const frames = fc.sample(arbitraryRejected, { seed: seed + i, numRuns: 4000 });
      const model = await rejectAll(word);
      expect(compare(model, frames)).toBeGreaterThan(400);
      expect(compare(model, framesOfManySizes())).toBeGreaterThan(400);
    });

    it.skipIf(!existsSync(captureDirectory))(`are answered with ${word} in captures`, async () => {
      expect(compare(await rejectAll(word), readCaptures())).toBeGreaterThan(10);
    });
  }

  it("are reported with what becomes of them, by rules that decide and by rules on trial", async () => {
    const trial = firewall("trial", [{ action: "reject", reject: "auto" }], { mode: "audit", order: 1 });
    const edge = firewall("edge", [{ action: "reject", log: true }]);
    await applyDocuments(datapath, policyOf(trial, edge), { interfaces, now: policyNow });
    const ring = new RingBuffer(datapath.object.map("events"));
    const events: PacketEvent[] = [];
    ring.read(() => {}, 1000);
    namespace.enter(() => {
      for (const frame of [packets.web, packets.later]) runner.run(frame, { ifindex });
    });
    ring.read((view, offset) => {
      const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
      events.push(packetEventCodec.decode(bytes, offset));
    }, 1000);
    ring.close();
    const seen = events.map(({ flags, reason }) => [
      eventKindNames[flags >> EventLayout["kind-shift"]],
      (flags & EventFlag.drop) !== 0,
      fwReasonNames[reason],
    ]);
    expect(seen).toEqual([
      ["audit", true, "reject"],
      ["rule", true, "reject"],
      ["audit", true, "reject-silent"],
      ["rule", true, "reject-silent"],
    ]);
  });

  it("are answered no more often than the bound says, whatever processor they come in on", async () => {
    await rejectAll("auto");
    const counters = async () => {
      const reasons = await datapath.readCounters("fw_reasons");
      return [FwReason.reject, FwReason["reject-silent"]].map((r) => Number(reasons[r]?.packets ?? 0n));
    };
    const perSecond = 20;
    const [answeredBefore = 0, silentBefore = 0] = await counters();
    datapath.boundRejects(perSecond);
    const started = performance.now();
    let answered = 0;
    let sent = 0;
    for (let cpu = 0; cpu < availableParallelism(); cpu++) {
      // The sending thread moves to each processor in turn.
      namespace.run("taskset", "-cp", String(cpu), String(process.pid));
      namespace.enter(() => {
        for (let i = 0; i < 500; i++, sent++) {
          if (runner.run(packets.web, { ifindex }).verdict === xdpTx) answered++;
        }
      });
    }
    namespace.run("taskset", "-cp", `0-${availableParallelism() - 1}`, String(process.pid));
    const seconds = (performance.now() - started) / 1000;
    expect(answered).toBeGreaterThanOrEqual(perSecond);
    expect(answered).toBeLessThanOrEqual(perSecond * (1 + seconds));
    const [answeredAfter = 0, silentAfter = 0] = await counters();
    expect([answeredAfter - answeredBefore, silentAfter - silentBefore]).toEqual([answered, sent - answered]);
    datapath.boundRejects(0);
    expect(namespace.enter(() => runner.run(packets.web, { ifindex }).verdict)).toBe(xdpDrop);
    datapath.boundRejects(1_000_000);
  });
});

const macs = fc.constantFrom(
  ...["020000000001", "020000000002", "fefefefefefe", "ffffffffffff", "01005e000001", "333300000001"].map(
    (text) => Uint8Array.from(Buffer.from(text, "hex")),
  ),
);
const ownMacs = Uint8Array.of(2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1);

/** Any frame that can be run, mostly between two hosts. */
const arbitraryRejected: fc.Arbitrary<Uint8Array> = fc
  .record({ frame: arbitraryFrame, destination: macs, source: macs, plain: fc.nat(3) })
  .filter(({ frame }) => frame.length >= 14)
  .map(({ frame, destination, source, plain }) => {
    const copy = Uint8Array.from(frame);
    copy.set(plain > 0 ? ownMacs : Buffer.concat([destination, source]));
    return copy;
  });

/** Around what an error can quote, with every number of tags, odd lengths, options and extension headers. */
function framesOfManySizes(): Uint8Array[] {
  const around = (size: number) => Array.from({ length: 9 }, (_, i) => size - 4 + i);
  // The last two are longer than what a program can read at once.
  const sizes = [0, 1, 2, 3, ...around(520), ...around(1184), 1400, 1472, 6001, 9000];
  const content = (size: number) => Uint8Array.from({ length: size }, (_, i) => (i * 7 + size) & 0xff);
  const tags = [[], [{ vid: 7, pcp: 3 }], [{ tpid: 0x88a8, vid: 9 }, { vid: 4000 }]];
  const networks = sizes.flatMap((size) => {
    const transports = [
      udp({ payload: content(size) }),
      tcp({ flags: size & 1 ? 0x02 : 0x19, options: new Uint8Array(12), payload: content(size) }),
      raw(47, content(size)),
    ];
    return transports.flatMap((transport) => [
      ipv4({}, transport),
      ipv4({ options: new Uint8Array(24).fill(1) }, transport),
      ipv6({}, transport),
      ipv6({ extensions: [extension(0), extension(60, 2)] }, transport),
    ]);
  });
  const padding = new Uint8Array(3).fill(0xee);
  return networks.flatMap((network) => tags.map((t) => ethernet({ tags: t, padding }, network)));
}

function readCaptures(): Uint8Array[] {
  return readdirSync(captureDirectory)
    .filter((file) => file.endsWith(".pcap"))
    .flatMap((name) => {
      const capture = readCapture(readFileSync(new URL(name, captureDirectory)));
      return capture.kind === "capture" ? capture.frames.map(({ frame }) => frame) : [];
    })
    .filter((frame) => frame.length >= 14);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
}
