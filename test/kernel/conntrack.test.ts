// Conformance of connection tracking: sequences of packets through the programs, and after each packet the same state
// as the reference model has, in both families and with either endpoint as the lower one.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  ConnectionModel,
  type ConnectionState,
  type Endpoint,
  type ModelSettings,
  type PacketState,
  type TrackedError,
  type TrackedPacket,
} from "../../src/kinds/conntrack/model.ts";
import { Dialog, type Line } from "../fixtures/conntrack-dialog.ts";
import { ConntrackLab, type LabEntry } from "../fixtures/conntrack-lab.ts";
import { frameOf } from "../fixtures/conntrack-packets.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";

type Ends = Readonly<Record<"a" | "b", Endpoint>>;

const ends: Readonly<Record<string, Ends>> = {
  "IPv4, the opener is high": {
    a: { address: "198.51.100.7", port: 40000 },
    b: { address: "192.0.2.1", port: 80 },
  },
  "IPv4, the opener is low": {
    a: { address: "192.0.2.1", port: 40000 },
    b: { address: "198.51.100.7", port: 80 },
  },
  "IPv6, the opener is high": {
    a: { address: "2001:db8::ff", port: 40000 },
    b: { address: "2001:db8::1", port: 80 },
  },
  "one address, the opener is low": {
    a: { address: "192.0.2.1", port: 80 },
    b: { address: "192.0.2.1", port: 40000 },
  },
};

/** A line, what the packet is, and what the connection is in then; `none` if there is none. */
type Row = readonly [line: Line, packet: PacketState, connection: ConnectionState | "none"];

const handshake: readonly Row[] = [
  [{ from: "a", flags: "S", scale: 7 }, "new", "syn-sent"],
  [{ from: "b", flags: "SA", scale: 7 }, "established", "syn-recv"],
  [{ from: "a", flags: "A" }, "established", "established"],
];

const sequences: Readonly<Record<string, readonly Row[]>> = {
  "normal close": [
    ...handshake,
    [{ from: "a", flags: "A", length: 500 }, "established", "established"],
    [{ from: "b", flags: "A", length: 500 }, "established", "established"],
    [{ from: "a", flags: "FA" }, "established", "fin-wait"],
    [{ from: "b", flags: "A" }, "established", "close-wait"],
    [{ from: "b", flags: "A", length: 500 }, "established", "close-wait"],
    [{ from: "b", flags: "FA" }, "established", "last-ack"],
    [{ from: "a", flags: "A" }, "established", "time-wait"],
    [{ from: "b", flags: "FA", sequence: 0x2e9 }, "established", "time-wait"],
  ],
  "simultaneous open": [
    [{ from: "a", flags: "S" }, "new", "syn-sent"],
    [{ from: "b", flags: "S" }, "established", "syn-recv"],
    [{ from: "b", flags: "SA", sequence: 0xffff_ff00 }, "established", "syn-recv"],
    [{ from: "a", flags: "SA", sequence: 0xffff_fff0 }, "established", "established"],
    [{ from: "a", flags: "A", length: 100 }, "established", "established"],
    [{ from: "b", flags: "A" }, "established", "established"],
  ],
  "simultaneous close": [
    ...handshake,
    [{ from: "a", flags: "FA" }, "established", "fin-wait"],
    [{ from: "b", flags: "FA", acknowledgement: 0xffff_fff1 }, "established", "last-ack"],
    [{ from: "a", flags: "A" }, "established", "last-ack"],
    [{ from: "b", flags: "A" }, "established", "time-wait"],
  ],
  "close in one packet each": [
    ...handshake,
    [{ from: "b", flags: "FA", length: 10 }, "established", "fin-wait"],
    [{ from: "a", flags: "FA" }, "established", "last-ack"],
    [{ from: "b", flags: "A" }, "established", "time-wait"],
  ],
  "connection refused": [
    [{ from: "a", flags: "S" }, "new", "syn-sent"],
    [{ from: "b", flags: "RA", sequence: 0 }, "established", "closed"],
  ],
  "a forged refusal": [
    [{ from: "a", flags: "S" }, "new", "syn-sent"],
    [{ from: "b", flags: "RA", sequence: 0, acknowledgement: 77 }, "invalid", "syn-sent"],
    [{ from: "b", flags: "R", sequence: 0 }, "invalid", "syn-sent"],
    [{ from: "b", flags: "SA", acknowledgement: 77 }, "invalid", "syn-sent"],
  ],
  "plausible reset": [
    ...handshake,
    [{ from: "b", flags: "R" }, "established", "closed"],
    [{ from: "b", flags: "R" }, "established", "closed"],
    [{ from: "a", flags: "A" }, "invalid", "closed"],
    [{ from: "a", flags: "S" }, "new", "syn-sent"],
  ],
  "implausible reset": [
    ...handshake,
    [{ from: "b", flags: "R", sequence: 0x4000_0000 }, "invalid", "established"],
    [{ from: "b", flags: "R", sequence: 0xff00_0000 }, "invalid", "established"],
    [{ from: "a", flags: "A", length: 1 }, "established", "established"],
  ],
  "half-open: one side forgot, and begins anew": [
    ...handshake,
    [{ from: "a", flags: "S", sequence: 12345 }, "established", "established"],
    [{ from: "b", flags: "A" }, "established", "established"],
    [{ from: "a", flags: "R", sequence: 0xffff_fff1 }, "established", "closed"],
    [{ from: "a", flags: "S", sequence: 12345 }, "new", "syn-sent"],
    [{ from: "b", flags: "SA", acknowledgement: 12346 }, "established", "syn-recv"],
  ],
  "half-open: the answer tells of an earlier connection": [
    [{ from: "a", flags: "S" }, "new", "syn-sent"],
    [{ from: "b", flags: "A", sequence: 999, acknowledgement: 555 }, "established", "syn-sent"],
    [{ from: "a", flags: "R", sequence: 555 }, "new", "syn-sent"],
    [{ from: "a", flags: "S", sequence: 0xffff_fff0 }, "new", "syn-sent"],
    [{ from: "b", flags: "SA" }, "established", "syn-recv"],
  ],
  "port reuse in TIME_WAIT": [
    ...handshake,
    [{ from: "a", flags: "FA" }, "established", "fin-wait"],
    [{ from: "b", flags: "FA" }, "established", "last-ack"],
    [{ from: "a", flags: "A" }, "established", "time-wait"],
    [{ from: "a", flags: "S" }, "new", "syn-sent"],
    [{ from: "b", flags: "SA" }, "established", "syn-recv"],
    [{ from: "a", flags: "A" }, "established", "established"],
  ],
  "port reuse in TIME_WAIT by the other side": [
    ...handshake,
    [{ from: "a", flags: "FA" }, "established", "fin-wait"],
    [{ from: "b", flags: "FA" }, "established", "last-ack"],
    [{ from: "a", flags: "A" }, "established", "time-wait"],
    [{ from: "b", flags: "S" }, "new", "syn-sent"],
    [{ from: "a", flags: "SA" }, "established", "syn-recv"],
  ],
  "a new attempt before the first was answered": [
    [{ from: "a", flags: "S" }, "new", "syn-sent"],
    [{ from: "a", flags: "S", sequence: 4000 }, "new", "syn-sent"],
    [{ from: "b", flags: "SA", acknowledgement: 4001 }, "established", "syn-recv"],
  ],
  "retransmissions of the handshake": [
    [{ from: "a", flags: "S" }, "new", "syn-sent"],
    [{ from: "a", flags: "S", sequence: 0xffff_fff0 }, "new", "syn-sent"],
    [{ from: "b", flags: "SA" }, "established", "syn-recv"],
    [{ from: "b", flags: "SA", sequence: 0xffff_ff00 }, "established", "syn-recv"],
    [{ from: "a", flags: "A" }, "established", "established"],
    [{ from: "b", flags: "SA", sequence: 0xffff_ff00 }, "established", "established"],
  ],
  "an acknowledgement of nothing does not complete the handshake": [
    ...handshake.slice(0, 2),
    [{ from: "a", flags: "A", acknowledgement: 5 }, "invalid", "syn-recv"],
    [{ from: "a", flags: "A", acknowledgement: 0xffff_ff00 }, "established", "syn-recv"],
    [{ from: "a", flags: "A" }, "established", "established"],
  ],
  "scaled windows": [
    [{ from: "a", flags: "S", scale: 4 }, "new", "syn-sent"],
    [{ from: "b", flags: "SA", scale: 0 }, "established", "syn-recv"],
    [{ from: "a", flags: "A" }, "established", "established"],
    // 1000 << 4 bytes ahead of what was acknowledged, and one more.
    [
      { from: "b", flags: "A", sequence: 0xffff_ff01 + 16_000 - 2 ** 32, length: 1 },
      "established",
      "established",
    ],
    [
      { from: "b", flags: "A", sequence: 0xffff_ff01 + 16_001 - 2 ** 32, length: 1 },
      "invalid",
      "established",
    ],
  ],
  "windows are not scaled where one side does not": [
    [{ from: "a", flags: "S", scale: 4 }, "new", "syn-sent"],
    [{ from: "b", flags: "SA" }, "established", "syn-recv"],
    [{ from: "a", flags: "A" }, "established", "established"],
    [{ from: "b", flags: "A", sequence: 0xffff_ff01 + 1001 - 2 ** 32, length: 1 }, "invalid", "established"],
  ],
  "data far behind, and acknowledgements of what was never sent": [
    ...handshake,
    [{ from: "a", flags: "A", sequence: 0x8000_0000, length: 10 }, "invalid", "established"],
    [{ from: "a", flags: "A", acknowledgement: 0x1000_0000 }, "invalid", "established"],
    [{ from: "a", flags: "A", length: 10 }, "established", "established"],
  ],
  "data and a cookie in the SYN": [
    [{ from: "a", flags: "S", length: 100 }, "new", "syn-sent"],
    [{ from: "b", flags: "SA" }, "established", "syn-recv"],
    [{ from: "b", flags: "A", length: 200 }, "established", "syn-recv"],
    [{ from: "a", flags: "A" }, "established", "established"],
  ],
  "flags that do not go together": [
    ...["SF", "SR", "SAF", "-", "F", "SFRA"].map((flags): Row => [{ from: "a", flags }, "invalid", "none"]),
    [{ from: "a", flags: "SA" }, "invalid", "none"],
    [{ from: "a", flags: "R" }, "invalid", "none"],
    [{ from: "a", flags: "S" }, "new", "syn-sent"],
    ...["SF", "SR", "-", "F"].map(
      (flags): Row => [{ from: "a", flags, sequence: 0xffff_fff1 }, "invalid", "syn-sent"],
    ),
  ],
  "mid-stream without pick-up": [
    [{ from: "a", flags: "A" }, "invalid", "none"],
    [{ from: "b", flags: "A", length: 100 }, "invalid", "none"],
    [{ from: "a", flags: "FA" }, "invalid", "none"],
  ],
};

const pickUps: Readonly<Record<string, readonly Row[]>> = {
  "mid-stream with pick-up": [
    [{ from: "b", flags: "A", length: 100 }, "new", "established"],
    [{ from: "a", flags: "A" }, "established", "established"],
    [{ from: "b", flags: "A", sequence: 0x2000_0000, length: 100 }, "established", "established"],
    [{ from: "a", flags: "A", acknowledgement: 0x2000_0064 }, "established", "established"],
    [{ from: "b", flags: "R", sequence: 0x5000_0000 }, "invalid", "established"],
    [{ from: "b", flags: "R", sequence: 0x2000_0064 }, "established", "closed"],
  ],
  "picked up in its close": [
    [{ from: "a", flags: "FA" }, "new", "fin-wait"],
    [{ from: "b", flags: "FA" }, "established", "last-ack"],
    [{ from: "a", flags: "A" }, "established", "time-wait"],
  ],
  "a reset and an answer begin nothing": [
    [{ from: "a", flags: "RA" }, "invalid", "none"],
    [{ from: "a", flags: "SA" }, "invalid", "none"],
  ],
};

/** The programs and the model side by side. */
class Pair {
  readonly #lab: ConntrackLab;
  readonly #model: ConnectionModel;

  constructor(lab: ConntrackLab, settings: ModelSettings) {
    this.#lab = lab;
    this.#model = new ConnectionModel(settings);
  }

  /** Takes a packet in both, and compares what it is and all that they know then; returns it. */
  async take(packet: TrackedPacket | TrackedError, direction: "ingress" | "egress"): Promise<PacketState> {
    const frame = frameOf(packet);
    const { state } = this.#lab.look(frame);
    this.#lab.track(frame, direction);
    const expected = this.#model.take(packet);
    expect(state, JSON.stringify(packet)).toBe(expected);
    expect((await this.#lab.entries()).map(textOf).sort()).toEqual(this.modelText());
    return state;
  }

  states(): ConnectionState[] {
    return [...this.#model.connections.values()].map(({ state }) => state);
  }

  modelText(): string[] {
    return [...this.#model.connections.values()]
      .map(({ opener, state, replied }) => `${opener.port} ${state} ${replied}`)
      .sort();
  }
}

const openedByHigh = 1;
const replied = 2;

function textOf({ key, state, flags }: LabEntry): string {
  const port = flags & openedByHigh ? key.highPort : key.lowPort;
  const word = state.replace(/^(udp|echo|other)-/, "");
  return `${port} ${word} ${(flags & replied) !== 0}`;
}

const directions = { a: "ingress", b: "egress" } as const;

describeKernel("connection tracking, step by step", () => {
  let lab: ConntrackLab;
  beforeAll(() => {
    lab = new ConntrackLab();
  });
  afterAll(() => lab.close());

  async function play(rows: readonly Row[], pair: Ends, settings: ModelSettings): Promise<void> {
    await lab.clear();
    lab.setSettings(settings);
    const both = new Pair(lab, settings);
    const dialog = new Dialog(pair);
    for (const [line, packet, connection] of rows) {
      const state = await both.take(dialog.say(line), directions[line.from]);
      expect([line, state, ...both.states()]).toEqual([
        line,
        packet,
        ...(connection === "none" ? [] : [connection]),
      ]);
    }
  }

  describe.each(Object.entries(ends))("%s", (_, pair) => {
    it.each(Object.entries(sequences))("%s", (_, rows) =>
      play(rows, pair, { pickUp: false, liberal: false }),
    );
    it.each(Object.entries(pickUps))("%s", (_, rows) => play(rows, pair, { pickUp: true, liberal: false }));
  });

  it("follows the model over random TCP packets", async () => {
    const offset = fc.oneof(
      fc.constantFrom(0, 1, -1, 999, 1000, 1001, 66_000, -66_001, 0x4000_0000),
      fc.integer({ min: -2000, max: 2000 }),
    );
    const line = fc.record({
      from: fc.constantFrom("a" as const, "b" as const),
      flags: fc.oneof(
        { weight: 3, arbitrary: fc.constantFrom("S", "SA", "A", "FA", "R", "RA") },
        { weight: 1, arbitrary: fc.constantFrom("SF", "-", "F", "SR", "SFRA") },
      ),
      length: fc.constantFrom(0, 0, 1, 100),
      window: fc.constantFrom(0, 1, 1000, 65535),
      scale: fc.constantFrom(undefined, 0, 7, 15),
      sequenceBy: fc.option(offset, { nil: undefined, freq: 4 }),
      acknowledgementBy: fc.option(offset, { nil: undefined, freq: 4 }),
    });
    const property = fc.asyncProperty(
      fc.constantFrom(...Object.values(ends)),
      fc.record({ pickUp: fc.boolean(), liberal: fc.boolean() }),
      fc.boolean(),
      fc.array(line, { minLength: 1, maxLength: 14 }),
      async (pair, settings, begun, lines) => {
        await lab.clear();
        lab.setSettings(settings);
        const both = new Pair(lab, settings);
        const dialog = new Dialog(pair);
        const say = (line: Line) => both.take(dialog.say(line), directions[line.from]);
        if (begun) for (const [line] of handshake) await say(line);
        for (const { sequenceBy, acknowledgementBy, scale, ...rest } of lines) {
          const to = rest.from === "a" ? "b" : "a";
          await say({
            ...rest,
            ...(scale === undefined ? {} : { scale }),
            ...(sequenceBy === undefined ? {} : { sequence: (dialog.at(rest.from) + sequenceBy) >>> 0 }),
            ...(acknowledgementBy === undefined
              ? {}
              : { acknowledgement: (dialog.at(to) + acknowledgementBy) >>> 0 }),
          });
        }
      },
    );
    await fc.assert(property, { numRuns: Number(process.env["CONNTRACK_RUNS"] ?? 1000), verbose: 1 });
  }, 600_000);
});
