// The grace period: by both methods, no program that ran when the wait began still runs when it ends.
import { expect, it } from "vitest";
import { type BpfObject, type GraceMethod, openObject, waitForGracePeriod } from "../../src/bpf/index.ts";
import { libbpf } from "../../src/bpf/libbpf.ts";
import { addressOf, callAsync } from "../../src/bpf/libc.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";

const STARTED = 0;
const ENDED = 1;

/** Runs the program on a worker thread; the promise ends with the run. */
function runAside(object: BpfObject): Promise<number> {
  const frame = new Uint8Array(64);
  const opts = new DataView(new ArrayBuffer(80));
  opts.setBigUint64(0, 80n, true);
  opts.setBigUint64(8, addressOf(frame), true);
  opts.setUint32(24, frame.length, true);
  opts.setInt32(60, 1, true);
  const run = callAsync(
    libbpf().bpf_prog_test_run_opts,
    object.program("xdp_slow").fd,
    new Uint8Array(opts.buffer),
  );
  // The buffers must live until the run has ended.
  return run.then((result) => result + 0 * frame.length);
}

describeKernel("grace period", () => {
  for (const method of ["membarrier", "map-in-map"] satisfies GraceMethod[]) {
    it(`by ${method} outlasts a program that is running`, async () => {
      const object = openObject(compileBpf("slow"));
      const progress = object.map("progress").mmap();
      const ended = () => Atomics.load(progress.words, ENDED);
      let proved = false;
      // A program that shares the CPU with us may be over before we see it run: then it is run again.
      for (let round = 1n; round <= 20n && !proved; round++) {
        const running = runAside(object);
        while (Atomics.load(progress.words, STARTED) < round) await new Promise(setImmediate);
        const wasRunning = ended() === round - 1n;
        expect(await waitForGracePeriod({ method })).toBe(method);
        expect(ended()).toBe(round);
        expect(await running).toBe(0);
        proved = wasRunning;
      }
      expect(proved).toBe(true);
      progress.close();
      object.close();
    });
  }

  it("leaves the event loop running, and the waiting can be given up", async () => {
    let turns = 0;
    const ticking = setInterval(() => turns++, 1);
    const until = performance.now() + 40;
    while (performance.now() < until) await waitForGracePeriod();
    clearInterval(ticking);
    expect(turns).toBeGreaterThan(5);
    const given = waitForGracePeriod({ signal: AbortSignal.abort() });
    await expect(given).rejects.toMatchObject({ code: "aborted" });
    const controller = new AbortController();
    const late = waitForGracePeriod({ signal: controller.signal });
    controller.abort();
    await expect(late).rejects.toMatchObject({ code: "aborted" });
  });
});
