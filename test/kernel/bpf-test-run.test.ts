// Test runs: verdict, bytes and context as the program saw and left them; a store through mmap is seen by the very
// next run; and a hundred thousand runs cost little more than their system calls.
import { expect, it } from "vitest";
import { createTestRunner, findInterface, openObject } from "../../src/bpf/index.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import { makeVethNamespace } from "../fixtures/network-namespace.ts";

const PASS = 2;
const DROP = 1;

describeKernel("test runs", () => {
  it("see a store through mmap at once, and are counted per CPU", () => {
    const object = openObject(compileBpf("tables"), { rodata: { threshold: 5 } });
    const memory = object.map("generation").mmap();
    const runner = createTestRunner(object.program("xdp_tables"));
    const frame = new Uint8Array(60);
    for (let generation = 0n; generation < 10n; generation++) {
      Atomics.store(memory.words, 0, generation);
      expect(runner.run(frame).verdict).toBe(generation >= 5n ? PASS : DROP);
    }
    const perCpu = object.map("packets").lookup(new Uint8Array(4)) as Uint8Array;
    const view = new DataView(perCpu.buffer);
    let sum = 0;
    for (let at = 0; at < perCpu.length; at += 8) sum += view.getUint32(at, true);
    expect(sum).toBe(10);
    memory.close();
    object.close();
  });

  it("carry interface and queue into an XDP program, and its writes out", () => {
    const namespace = makeVethNamespace();
    const object = openObject(compileBpf("tables"));
    const runner = createTestRunner(object.program("xdp_context"));
    const frame = Uint8Array.from({ length: 64 }, (_, i) => i);
    namespace.enter(() => {
      const { index } = findInterface("left") ?? { index: 0 };
      expect(index).toBeGreaterThan(1);
      const result = runner.run(frame, { ifindex: index });
      expect(result.verdict).toBe(index);
      expect(result.frame).toEqual(Uint8Array.from({ length: 64 }, (_, i) => (i === 0 ? 0xa0 : i)));
      expect(() => runner.run(frame, { ifindex: 1, queue: 99 })).toThrow("EINVAL");
      expect(() => runner.run(frame, { ifindex: 12_345 })).toThrow(
        "Cannot run program xdp_context over 64 bytes: ENODEV (19)",
      );
    });
    expect(frame[0]).toBe(0);
    // Without an interface the kernel takes the loopback interface.
    expect(runner.run(frame).verdict).toBe(1);
    expect(() => runner.run(new Uint8Array(4))).toThrow("over 4 bytes: EINVAL");
    expect(() => runner.run(new Uint8Array(100_000))).toThrow("over 100000 bytes");
    object.close();
  });

  it("put metadata before an XDP frame and give it back", () => {
    const object = openObject(compileBpf("tables"));
    const runner = createTestRunner(object.program("xdp_metadata"));
    const frame = new Uint8Array(68);
    frame.set([0x44, 0x33, 0x22, 0x11]);
    frame.fill(7, 4);
    const result = runner.run(frame, { metadataBytes: 4 });
    expect(result.verdict).toBe(0x11223344);
    expect(result.metadataBytes).toBe(4);
    expect(result.frame).toEqual(frame);
    expect(runner.run(frame).verdict).toBe(-1);
    object.close();
  });

  it("carry mark, priority and cb into a TC program, and out", () => {
    const object = openObject(compileBpf("verdicts"));
    const runner = createTestRunner(object.program("tc_context"));
    const { verdict, context } = runner.run(new Uint8Array(64), {
      ifindex: 1,
      mark: 100,
      priority: 20,
      cb: [0, 0, 0, 0, 3],
    });
    expect(verdict).toBe(100 + 20 + 3 + 1);
    expect(context.getUint32(8, true)).toBe(77);
    expect(context.getUint32(48, true)).toBe(88);
    object.close();
  });

  it("repeat a run inside the kernel and tell the mean time", () => {
    const object = openObject(compileBpf("verdicts"));
    const hits = object.map("hits").mmap();
    const { durationNs } = createTestRunner(object.program("xdp_first")).run(new Uint8Array(64), {
      repeat: 10_000,
    });
    expect(Atomics.load(hits.words, 0)).toBe(10_000n);
    expect(durationNs).toBeLessThan(10_000);
    hits.close();
    object.close();
  });

  it("do not mix up a hundred thousand runs, and keep no memory of them", () => {
    const object = openObject(compileBpf("records"), { maxEntries: { events: 4_096 } });
    const runner = createTestRunner(object.program("xdp_record"));
    const frames = [new Uint8Array(64), new Uint8Array(1_500)];
    frames[1]?.fill(1, 15, 16);
    let wrong = 0;
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 100_000; i++) {
      const frame = frames[i & 1] as Uint8Array;
      if (runner.run(frame).frame.length !== frame.length) wrong++;
    }
    expect(wrong).toBe(0);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
    object.close();
  });

  it("refuse programs that are neither XDP nor TC", () => {
    const object = openObject(compileBpf("verdicts"));
    expect(() => createTestRunner(object.program("uprobe_call"))).toThrow("neither XDP nor TC");
    object.close();
  });
});
