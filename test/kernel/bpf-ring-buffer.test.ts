// The ring buffer read through its memory: every record once, whole and in order, over many wraps, with discarded
// records between; lost ones are lost on the writer's side only.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import {
  type BpfObject,
  createMap,
  createTestRunner,
  MAP_TYPE,
  openObject,
  RingBuffer,
} from "../../src/bpf/index.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";

const DOOR = fileURLToPath(new URL("../../src/bpf/index.ts", import.meta.url));
const RING_BYTES = 16_384;

interface Setup {
  readonly object: BpfObject;
  readonly ring: RingBuffer;
  /** Writes one record of 8 + `extra` bytes, or a discarded one; true if it fitted. */
  write(extra?: number, discard?: boolean): boolean;
  readonly close: () => void;
}

function setUp(): Setup {
  const object = openObject(compileBpf("records"), { maxEntries: { events: RING_BYTES } });
  const ring = new RingBuffer(object.map("events"));
  const runner = createTestRunner(object.program("xdp_record"));
  const frame = new Uint8Array(64);
  return {
    object,
    ring,
    write(extra = 0, discard = false) {
      frame[14] = extra;
      frame[15] = discard ? 1 : 0;
      return runner.run(frame).verdict === 1;
    },
    close() {
      ring.close();
      object.close();
    },
  };
}

describeKernel("ring buffer", () => {
  it("gives 150,000 records of all lengths whole, once and in order, over many wraps", () => {
    const { ring, write, close } = setUp();
    let expected = 0;
    let sent = 0;
    let wrong = 0;
    const drain = () =>
      ring.read((view, offset, length) => {
        const number = Number(view.getBigUint64(offset, true));
        if (number !== expected) wrong++;
        if (length !== 8 + (expected & 31)) wrong++;
        for (let i = 0; i < length - 8; i++) {
          if (view.getUint8(offset + 8 + i) !== ((number + i) & 0xff)) wrong++;
        }
        expected++;
      });
    while (sent < 150_000) {
      if (write(sent & 31)) sent++;
      else expect(drain()).toBeGreaterThan(100);
      if (sent % 7 === 0) write(0, true);
    }
    drain();
    expect({ wrong, expected }).toEqual({ wrong: 0, expected: 150_000 });
    expect(ring.pendingBytes).toBe(0);
    close();
  });

  it("hands out at most what was asked for, and frees the room of what was read", () => {
    const { ring, write, close } = setUp();
    let fitted = 0;
    while (write()) fitted++;
    expect(fitted).toBeGreaterThanOrEqual(RING_BYTES / 16 - 1);
    expect(ring.read(() => {}, 3)).toBe(3);
    expect([write(), write(), write(), write()]).toEqual([true, true, true, false]);
    expect(ring.read(() => {})).toBe(fitted);
    expect(ring.read(() => {})).toBe(0);
    close();
  });

  it("passes over discarded records", () => {
    const { ring, write, close } = setUp();
    write(0, true);
    write();
    write(0, true);
    const numbers: bigint[] = [];
    expect(ring.read((view, offset) => numbers.push(view.getBigUint64(offset, true)))).toBe(1);
    expect(numbers).toEqual([0n]);
    expect(ring.pendingBytes).toBe(0);
    close();
  });

  it("counts a record as read when the reader throws on it", () => {
    const { ring, write, close } = setUp();
    for (let i = 0; i < 3; i++) write();
    const seen: bigint[] = [];
    const take = () =>
      ring.read((view, offset) => {
        seen.push(view.getBigUint64(offset, true));
        if (seen.length === 2) throw new Error("bad record");
      });
    expect(take).toThrow("bad record");
    expect(take()).toBe(1);
    expect(seen).toEqual([0n, 1n, 2n]);
    close();
  });

  it("goes on where the last reader of the map stopped", () => {
    const { object, ring, write, close } = setUp();
    for (let i = 0; i < 5; i++) write();
    ring.read(() => {}, 2);
    ring.close();
    const next = new RingBuffer(object.map("events"));
    const numbers: bigint[] = [];
    next.read((view, offset) => numbers.push(view.getBigUint64(offset, true)));
    expect(numbers).toEqual([2n, 3n, 4n]);
    next.close();
    close();
  });

  it("waits for records, for a time, for an abort and for its end", async () => {
    const { ring, write, close } = setUp();
    expect(await ring.wait({ timeoutMs: 20 })).toBe(false);
    for (let round = 0; round < 3; round++) {
      const waiting = ring.wait({ timeoutMs: 5_000 });
      setTimeout(() => write(), 5);
      expect(await waiting).toBe(true);
      expect(ring.read(() => {})).toBe(1);
    }
    write();
    expect(await ring.wait()).toBe(true);
    ring.read(() => {});
    const controller = new AbortController();
    const aborted = ring.wait({ signal: controller.signal });
    expect(() => ring.wait()).toThrow("twice");
    controller.abort();
    await expect(aborted).rejects.toMatchObject({ code: "aborted" });
    await expect(ring.wait({ signal: controller.signal })).rejects.toMatchObject({ code: "aborted" });
    const ended = ring.wait();
    close();
    expect(await ended).toBe(false);
    expect(() => ring.read(() => {})).toThrow("closed");
  });

  it("does not keep the process alive, nor the loop spinning, when a wait is over", () => {
    const script = `import { createMap, MAP_TYPE, RingBuffer } from ${JSON.stringify(DOOR)};
      const layout = { name: "x", type: MAP_TYPE.ringBuffer, keySize: 0, valueSize: 0, entriesMax: 4096 };
      console.log(await new RingBuffer(createMap(layout)).wait({ timeoutMs: 10 }));`;
    const child = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
      encoding: "utf8",
      timeout: 10_000,
    });
    expect(child).toMatchObject({ status: 0, stdout: "false\n", stderr: "" });
  });

  it("refuses other maps", () => {
    const map = createMap({ name: "other", type: MAP_TYPE.hash, keySize: 4, valueSize: 4, entriesMax: 1 });
    expect(() => new RingBuffer(map)).toThrow("it is not a ring buffer");
    map.close();
  });
});
