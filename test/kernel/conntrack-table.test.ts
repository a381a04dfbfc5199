// The table of connections: protocols without states of their own, ICMP errors, fragments, timeouts, a full table,
// limits, what ends a connection, and what a commit asks of it.
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { generationLayout, offsetOf } from "../../src/abi/index.ts";
import type { Endpoint, TrackedError, TrackedPacket } from "../../src/kinds/conntrack/model.ts";
import { ConntrackLab } from "../fixtures/conntrack-lab.ts";
import { frameOf, networkOf } from "../fixtures/conntrack-packets.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import { ethernet, fragmentHeader, ipv4, ipv6, raw } from "../fixtures/packets.ts";

const outside: Endpoint = { address: "198.51.100.7", port: 40000 };
const host: Endpoint = { address: "192.0.2.1", port: 53 };
const outside6: Endpoint = { address: "2001:db8::7", port: 40000 };
const host6: Endpoint = { address: "2001:db8::1", port: 53 };
const counted = 128;
const reevaluate = 256;
const outcomes = ["done", "exists", "source-limit", "rule-limit", "full", "contended", "not-tracked"];

function packet(
  source: Endpoint,
  destination: Endpoint,
  rest: Omit<TrackedPacket, "kind" | "source" | "destination">,
): TrackedPacket {
  return { kind: "packet", source, destination, ...rest };
}

const udp = (source: Endpoint, destination: Endpoint) => packet(source, destination, { protocol: 17 });

function tcp(source: Endpoint, destination: Endpoint, flags: string, numbers: readonly [number, number]) {
  const has = (letter: string) => flags.includes(letter);
  const [sequence, acknowledgement] = numbers;
  const bits = { syn: has("S"), ack: has("A"), fin: has("F"), rst: has("R") };
  return packet(source, destination, {
    protocol: 6,
    tcp: { ...bits, sequence, acknowledgement, window: 1000, length: 0, scale: undefined },
  });
}

function echo(source: string, destination: string, kind: "request" | "reply", id: number) {
  const protocol = source.includes(":") ? 58 : 1;
  return packet({ address: source, port: id }, { address: destination, port: id }, { protocol, echo: kind });
}

const errorAbout = (inner: TrackedPacket, destination = inner.source.address): TrackedError => ({
  kind: "error",
  destination,
  inner,
});

/** A client of its own for each number. */
const client = (n: number, port = 40000): Endpoint => ({ address: `198.51.${n >>> 8}.${n & 0xff}`, port });

function open(lab: ConntrackLab, from: Endpoint, to: Endpoint): void {
  lab.track(frameOf(tcp(from, to, "S", [100, 0])), "ingress");
  lab.track(frameOf(tcp(to, from, "SA", [500, 101])), "egress");
  lab.track(frameOf(tcp(from, to, "A", [101, 501])), "ingress");
}

async function statesOf(lab: ConntrackLab): Promise<string[]> {
  return (await lab.entries()).map(({ state }) => state).sort();
}

async function sides(lab: ConntrackLab) {
  const [entry] = await lab.entries();
  return entry?.value.side.map(({ packets, bytes }) => [Number(packets), Number(bytes)]);
}

describeKernel("what connections there are", () => {
  let lab: ConntrackLab;
  beforeAll(() => {
    lab = new ConntrackLab();
  });
  beforeEach(() => lab.clear());
  afterAll(() => lab.close());

  const see = (frame: TrackedPacket | TrackedError, direction: "ingress" | "egress" = "ingress") => {
    const bytes = frameOf(frame);
    const { state } = lab.look(bytes);
    lab.track(bytes, direction);
    return state;
  };

  it.each([
    ["IPv4", outside, host],
    ["IPv6", outside6, host6],
  ])("knows UDP over %s as new until it is answered, and counts both directions", async (_, a, b) => {
    expect([see(udp(a, b)), see(udp(a, b))]).toEqual(["new", "new"]);
    expect(await statesOf(lab)).toEqual(["udp-new"]);
    expect([see(udp(b, a), "egress"), see(udp(a, b))]).toEqual(["established", "established"]);
    expect(await statesOf(lab)).toEqual(["udp-replied"]);
    const bytes = frameOf(udp(a, b)).length;
    expect((await sides(lab))?.sort()).toEqual(
      [
        [1, bytes],
        [3, 3 * bytes],
      ].sort(),
    );
  });

  it.each([
    ["IPv4", outside.address, host.address],
    ["IPv6", outside6.address, host6.address],
  ])("knows echo over %s by its identifier, and answers by their requests", async (_, a, b) => {
    expect(see(echo(a, b, "reply", 7))).toBe("invalid");
    expect(await statesOf(lab)).toEqual([]);
    expect([see(echo(a, b, "request", 7)), see(echo(b, a, "reply", 8), "egress")]).toEqual([
      "new",
      "invalid",
    ]);
    // A request of the other side with the same identifier answers nothing.
    expect(see(echo(b, a, "request", 7), "egress")).toBe("new");
    expect(await statesOf(lab)).toEqual(["echo-new"]);
    expect([see(echo(b, a, "reply", 7), "egress"), see(echo(a, b, "request", 7))]).toEqual([
      "established",
      "established",
    ]);
    expect(await statesOf(lab)).toEqual(["echo-replied"]);
  });

  it("knows other protocols by addresses alone, and no neighbour discovery", async () => {
    const gre = (from: Endpoint, to: Endpoint) =>
      packet({ ...from, port: 0 }, { ...to, port: 0 }, { protocol: 47 });
    expect([see(gre(outside, host)), see(gre(host, outside), "egress")]).toEqual(["new", "established"]);
    expect(await statesOf(lab)).toEqual(["other-replied"]);
    const solicitation = ethernet({}, ipv6({}, raw(58, Uint8Array.of(135, ...new Uint8Array(23)))));
    expect(lab.look(solicitation).state).toBe("new");
    lab.track(solicitation, "ingress");
    expect(await statesOf(lab)).toEqual(["other-replied"]);
  });

  describe.each([
    ["IPv4", outside, host, "203.0.113.9"],
    ["IPv6", outside6, host6, "2001:db8:9::9"],
  ])("ICMP errors over %s", (_, a, b, stranger) => {
    const connections: Readonly<Record<string, (from: Endpoint, to: Endpoint) => TrackedPacket>> = {
      udp,
      tcp: (from, to) => tcp(from, to, from === a ? "S" : "SA", from === a ? [100, 0] : [500, 101]),
      echo: (from, to) => echo(from.address, to.address, from === a ? "request" : "reply", 7),
    };
    it.each(Object.entries(connections))(
      "belong to the %s connection of the inner packet, in both directions",
      async (_, of) => {
        expect(see(errorAbout(of(a, b)))).toBe("invalid");
        see(of(a, b));
        expect(see(errorAbout(of(a, b)), "egress")).toBe("related");
        expect(see(errorAbout(of(b, a)))).toBe("related");
        // Sent to somebody who did not send the inner packet.
        expect(see(errorAbout(of(a, b), stranger))).toBe("invalid");
        expect(await sides(lab)).toContainEqual([1, frameOf(of(a, b)).length]);
        expect((await lab.entries()).length).toBe(1);
      },
    );
  });

  it.each([
    ["IPv4", outside, host],
    ["IPv6", outside6, host6],
  ])("finds later fragments' connections over %s through the first one", async (_, a, b) => {
    const first = networkOf(udp(a, b)).bytes.subarray(a === outside ? 20 : 40);
    const piece = (offset: number, id: number) => {
      const data = raw(17, offset === 0 ? first : new Uint8Array(16));
      const addresses = { source: a.address, destination: b.address };
      return ethernet(
        {},
        a === outside
          ? ipv4({ ...addresses, id, fragmentOffset: offset, moreFragments: offset === 0 }, data)
          : ipv6({ ...addresses, extensions: [fragmentHeader({ offset, more: offset === 0, id })] }, data),
      );
    };
    lab.track(piece(2, 77), "ingress");
    expect(await statesOf(lab)).toEqual([]);
    for (const frame of [piece(0, 77), piece(2, 77)]) lab.track(frame, "ingress");
    lab.track(piece(2, 78), "ingress");
    expect(await sides(lab)).toContainEqual([2, piece(0, 77).length + piece(2, 77).length]);
    expect((await lab.entries()).length).toBe(1);
    see(udp(b, a), "egress");
    expect([lab.look(piece(2, 77)).state, lab.look(piece(2, 78)).state]).toEqual(["established", "new"]);
  });

  it("takes a forwarded packet once, where it came in, unless only the way out is tracked", async () => {
    const frame = frameOf(udp(outside, host));
    lab.track(frame, "ingress");
    lab.track(frame, "egress", { ingressIfindex: 1 });
    expect(await sides(lab)).toContainEqual([1, frame.length]);
    lab.track(frame, "egress", { ingressIfindex: 4711 });
    expect(await sides(lab)).toContainEqual([2, 2 * frame.length]);
  });
});

describeKernel("how connections end", () => {
  it("ends each state at its timeout, and not while packets come", async () => {
    const lab = new ConntrackLab({ timeouts: { "udp-new": 1, "syn-sent": 1 } });
    lab.setOrigin({ ruleId: 5, flags: counted });
    for (let n = 0; n < 50; n++) lab.probe("create", frameOf(udp(client(n), host)));
    lab.track(frameOf(tcp(outside, host, "S", [1, 0])), "ingress");
    lab.track(frameOf(udp(host6, outside6)), "egress");
    lab.track(frameOf(udp(outside6, host6)), "ingress");
    expect((await lab.counts(5)).rule).toBe(50);
    await vi.waitFor(async () => expect(await statesOf(lab)).toEqual(["udp-replied"]), { timeout: 50_000 });
    expect(await lab.counts(5)).toEqual({ rule: 0, sources: [] });
    expect([lab.stat("expired"), lab.stat("no-timer")]).toEqual([51, 0]);
    lab.close();
  });

  it("takes an entry past its deadline for absent, though its timer has yet to come", async () => {
    const lab = new ConntrackLab();
    lab.track(frameOf(udp(outside, host)), "ingress");
    lab.track(frameOf(udp(host, outside)), "egress");
    lab.setSettings({ timeouts: { "udp-replied": 0 } });
    expect(lab.look(frameOf(udp(outside, host))).state).toBe("new");
    lab.track(frameOf(udp(outside, host)), "ingress");
    expect([await statesOf(lab), lab.stat("expired")]).toEqual([["udp-new"], 1]);
    lab.close();
  });

  it("ends what user space names, with all counts, and leaves the rest", async () => {
    const lab = new ConntrackLab();
    lab.setOrigin({ ruleId: 9, flags: counted });
    for (let n = 0; n < 6; n++) lab.probe("create", frameOf(udp(client(n >> 1, 1000 + n), host)));
    expect(await lab.counts(9)).toEqual({ rule: 6, sources: [2, 2, 2] });
    const keys = (await lab.entries()).map(({ key }) => key);
    expect(lab.end([...keys.slice(0, 4), ...keys.slice(0, 1)])).toBe(4);
    expect([(await lab.counts(9)).rule, (await lab.entries()).length, lab.stat("flushed")]).toEqual([
      2, 2, 4,
    ]);
    await lab.clear();
    expect(await lab.counts(9)).toEqual({ rule: 0, sources: [] });
    lab.close();
  });

  it("gives every slot out again", async () => {
    const lab = new ConntrackLab({ entries: 32 });
    for (let round = 0; round < 10; round++) {
      for (let n = 0; n < 32; n++) lab.track(frameOf(udp(client(n), host)), "ingress");
      const slots = (await lab.entries()).map(({ value }) => value.slot);
      expect(new Set(slots).size).toBe(32);
      await lab.clear();
    }
    expect([lab.stat("created"), lab.stat("evicted"), lab.stat("full")]).toEqual([320, 0, 0]);
    lab.close();
  });
});

describeKernel("a full table", () => {
  it("puts the oldest unanswered out first, and no established connection", async () => {
    const lab = new ConntrackLab({ entries: 64 });
    const web: Endpoint = { address: host.address, port: 443 };
    for (let n = 0; n < 16; n++) open(lab, client(0x7000 + n), web);
    for (let n = 0; n < 2000; n++) lab.track(frameOf(tcp(client(n), web, "S", [n, 0])), "ingress");
    const entries = await lab.entries();
    const established = entries.filter(({ state }) => state === "established");
    expect([entries.length, established.length]).toEqual([64, 16]);
    expect([lab.stat("evicted"), lab.stat("full")]).toEqual([2000 - 48, 0]);
    // The newest are there.
    for (let n = 2000 - 48; n < 2000; n++) {
      expect(lab.look(frameOf(tcp(web, client(n), "SA", [1, n + 1]))).state).toBe("established");
    }
    // They live: data goes both ways.
    for (let n = 0; n < 16; n++) {
      expect(lab.look(frameOf(tcp(client(0x7000 + n), web, "A", [101, 501]))).isFast).toBe(true);
    }
    lab.close();
  });

  it("tells and enters nothing when all are established", async () => {
    const lab = new ConntrackLab({ entries: 16 });
    for (let n = 0; n < 16; n++) open(lab, client(n), host);
    lab.track(frameOf(udp(client(999), host)), "ingress");
    expect(await statesOf(lab)).toEqual(Array(16).fill("established"));
    expect([lab.stat("full"), lab.stat("evicted")]).toEqual([1, 0]);
    // What has ended makes room.
    lab.track(frameOf(tcp(host, client(3), "R", [501, 0])), "egress");
    lab.track(frameOf(udp(client(999), host)), "ingress");
    expect([...(await statesOf(lab))]).toEqual([...Array(15).fill("established"), "udp-new"]);
    expect([lab.stat("full"), lab.stat("evicted")]).toEqual([1, 1]);
    lab.close();
  });
});

describeKernel("limits", () => {
  const create = (lab: ConntrackLab, frame: TrackedPacket) => outcomes[lab.probe("create", frameOf(frame))];

  it("counts sources and rules, of both or of none", async () => {
    const lab = new ConntrackLab();
    lab.setOrigin({ ruleId: 3, source: 2, rule: 5, flags: counted });
    const tried = Array.from({ length: 4 }, (_, n) =>
      Array.from({ length: 3 }, (_, i) => create(lab, udp(client(n, 1000 + i), host))),
    );
    expect(tried).toEqual([
      ["done", "done", "source-limit"],
      ["done", "done", "source-limit"],
      ["done", "rule-limit", "rule-limit"],
      ["rule-limit", "rule-limit", "rule-limit"],
    ]);
    expect(create(lab, udp(client(0, 1000), host))).toBe("source-limit");
    expect(await lab.counts(3)).toEqual({ rule: 5, sources: [1, 2, 2] });
    lab.close();
  });

  it("is exact under new connections from all processors at once", async () => {
    const lab = new ConntrackLab({ entries: 4096 });
    lab.setOrigin({ ruleId: 3, rule: 100, source: 7, flags: counted });
    const tried = Array.from({ length: 1000 }, (_, n) => create(lab, udp(client(n % 16, 2000 + n), host)));
    expect(tried.filter((outcome) => outcome === "done").length).toBe(100);
    const { rule, sources } = await lab.counts(3);
    expect([rule, sources.reduce((a, b) => a + b, 0), Math.max(...sources)]).toEqual([100, 100, 7]);
    lab.close();
  });

  it("goes down again with a reset, a close, an eviction, and once", async () => {
    const lab = new ConntrackLab({ entries: 8 });
    lab.setOrigin({ ruleId: 3, source: 1, flags: counted });
    const at = (n: number) => client(n);
    for (const n of [1, 2, 3]) {
      expect(create(lab, tcp(at(n), host, "S", [100, 0]))).toBe("done");
      open(lab, at(n), host);
      expect(create(lab, tcp(client(n, 40001), host, "S", [100, 0]))).toBe("source-limit");
    }
    expect(await lab.counts(3)).toEqual({ rule: 3, sources: [1, 1, 1] });
    lab.track(frameOf(tcp(at(1), host, "R", [101, 0])), "ingress");
    expect(await lab.counts(3)).toEqual({ rule: 2, sources: [1, 1] });
    lab.track(frameOf(tcp(at(2), host, "FA", [101, 501])), "ingress");
    lab.track(frameOf(tcp(host, at(2), "FA", [501, 102])), "egress");
    expect((await lab.counts(3)).rule).toBe(2);
    lab.track(frameOf(tcp(at(2), host, "A", [102, 502])), "ingress");
    expect((await lab.counts(3)).rule).toBe(1);
    expect(await statesOf(lab)).toEqual(["closed", "established", "time-wait"]);
    // The port is used again, and what is left is put out by others.
    expect(create(lab, tcp(client(4), host, "S", [1, 0]))).toBe("done");
    for (let n = 0; n < 40; n++) lab.track(frameOf(udp(client(100 + n), host)), "ingress");
    expect([await lab.counts(3), lab.stat("full")]).toEqual([{ rule: 1, sources: [1] }, 0]);
    expect(await statesOf(lab)).toEqual(["established", ...Array(7).fill("udp-new")]);
    lab.close();
  });
});

describeKernel("commits", () => {
  it("knows the rule that let a connection through, and whether it is to be judged again", async () => {
    const lab = new ConntrackLab();
    // What lib/carry.h leaves in skb->cb: rule, flags (to be judged again), tag, generation.
    lab.track(frameOf(udp(outside, host)), "ingress", { cb: [42, 4, 0x6b536e50, 0, 0] });
    lab.track(frameOf(udp(host6, outside6)), "egress", { cb: [42, 4, 0x6b536e50, 0, 0] });
    const entries = await lab.entries();
    expect(
      entries.map(({ key, value, flags }) => [key.family, value.ruleId, flags & reevaluate]).sort(),
    ).toEqual([
      [4, 42, reevaluate],
      [6, 0, 0],
    ]);
    lab.close();
  });

  it("closes the fast path of connections that are to be judged again, until they are", async () => {
    const lab = new ConntrackLab();
    const generation = lab.map("generation").mmap();
    const commit = (to: bigint) => {
      generation.words[offsetOf(generationLayout, "current") / 8] = to;
    };
    const frame = frameOf(udp(outside, host));
    for (const flags of [0, reevaluate]) {
      await lab.clear();
      lab.setOrigin({ ruleId: 77, flags });
      commit(5n);
      lab.probe("create", frame);
      lab.track(frameOf(udp(host, outside)), "egress");
      expect(lab.look(frame)).toMatchObject({
        state: "established",
        isFast: true,
        isReply: false,
        ruleId: 77,
      });
      commit(6n);
      expect(lab.look(frame)).toMatchObject({ state: "established", isFast: flags === 0 });
    }
    lab.probe("confirm", frame);
    expect(lab.look(frame).isFast).toBe(true);
    commit(7n);
    expect(lab.look(frame).isFast).toBe(false);
    expect(lab.probe("forget", frame)).toBe(1);
    expect([lab.look(frame).state, await statesOf(lab)]).toEqual(["new", []]);
    generation.close();
    lab.close();
  });
});
