// Links on interfaces and on user-space functions: what is attached sees the traffic, outlives its maker when pinned,
// is exchanged in place, and never pushes somebody else's program aside.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { PenstockError } from "../../src/base/index.ts";
import {
  ATTACH_TYPE,
  attachTc,
  attachUprobe,
  attachXdp,
  type BpfObject,
  detachTcFilter,
  findInterface,
  openObject,
  openPinnedLink,
  queryTcFilter,
  queryXdp,
  unpin,
  updateTcFilter,
  type XdpRequest,
} from "../../src/bpf/index.ts";
import { libc } from "../../src/bpf/libc.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeVethNamespace, type TestNamespace } from "../fixtures/network-namespace.ts";

interface Setup {
  readonly namespace: TestNamespace;
  readonly object: BpfObject;
  readonly ifindex: number;
  /** Sends packets from `right`, so that they arrive at `left`. */
  send(): void;
  /** Sends packets from `left`. */
  sendOut(): void;
  /** Counted so far by the program with this slot. */
  hits(slot: number): bigint;
  readonly close: () => void;
}

function setUp(): Setup {
  const namespace = makeVethNamespace();
  namespace.run("ip", "address", "add", "10.9.0.1/24", "dev", "left");
  namespace.run("ip", "address", "add", "10.8.0.1/24", "dev", "right");
  for (const [address, device] of [
    ["10.9.0.2", "left"],
    ["10.8.0.2", "right"],
  ] as const) {
    namespace.run("ip", "neigh", "add", address, "lladdr", "02:00:00:00:00:09", "dev", device);
  }
  const object = openObject(compileBpf("verdicts"));
  const memory = object.map("hits").mmap();
  const send = (target: string) => {
    const script = `const s = require("dgram").createSocket("udp4"); s.send("x", 9, "${target}", () => s.close());`;
    namespace.run(process.execPath, "-e", script);
  };
  return {
    namespace,
    object,
    ifindex: namespace.enter(() => findInterface("left")?.index ?? 0),
    send: () => send("10.8.0.2"),
    sendOut: () => send("10.9.0.2"),
    hits: (slot) => Atomics.load(memory.words, slot),
    close() {
      memory.close();
      object.close();
      namespace.remove();
    },
  };
}

function catchError(work: () => unknown): PenstockError {
  try {
    work();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(PenstockError);
    return thrown as PenstockError;
  }
  return expect.fail("nothing was thrown");
}

function requestOf({ object, ifindex }: Setup, mode: XdpRequest["mode"], program = "xdp_first"): XdpRequest {
  return { program: object.program(program), ifindex, interfaceName: "left", mode };
}

describeKernel("XDP links", () => {
  for (const mode of ["native", "generic"] as const) {
    it(`attach in ${mode} mode, see packets, change programs in place, and leave when closed`, () => {
      const setup = setUp();
      const { namespace, object, ifindex, send, hits } = setup;
      const attachment = namespace.enter(() => attachXdp(requestOf(setup, mode)));
      const { link } = attachment;
      const first = object.program("xdp_first");
      const second = object.program("xdp_second");
      expect(attachment.mode).toBe(mode);
      expect(link.info()).toMatchObject({
        type: "xdp",
        ifindex,
        programId: first.info().id,
        attachType: ATTACH_TYPE.xdp,
      });
      expect(namespace.enter(() => queryXdp(ifindex))).toEqual({ programId: first.info().id, mode });
      send();
      const seen = hits(0);
      expect(seen).toBeGreaterThan(0n);
      const wrong = catchError(() => link.update(first, second));
      expect(wrong.message).toContain("EPERM (1), it does not run xdp_second");
      link.update(second, first);
      expect(link.info().programId).toBe(second.info().id);
      send();
      expect(hits(0)).toBe(seen);
      expect(hits(1)).toBeGreaterThan(0n);
      link.close();
      expect(namespace.enter(() => queryXdp(ifindex))).toBeUndefined();
      setup.close();
    });
  }

  it("outlive their maker when pinned, and go when unpinned", async () => {
    const setup = setUp();
    const { namespace, object, ifindex, send, hits } = setup;
    const path = join(makePinDirectory(), "links", "left");
    const { link } = namespace.enter(() => attachXdp(requestOf(setup, "auto")));
    link.pin(path);
    link.close();
    send();
    expect(hits(0)).toBeGreaterThan(0n);
    const again = openPinnedLink(path);
    expect(again?.info().ifindex).toBe(ifindex);
    again?.update(object.program("xdp_second"));
    send();
    expect(hits(1)).toBeGreaterThan(0n);
    again?.close();
    expect(namespace.enter(() => queryXdp(ifindex))).toBeDefined();
    expect(unpin(path)).toBe(true);
    await expect.poll(() => namespace.enter(() => queryXdp(ifindex))).toBeUndefined();
    expect(openPinnedLink(path)).toBeUndefined();
    setup.close();
  });

  it("detach at once, and say so when their interface is gone", () => {
    const setup = setUp();
    const { namespace, ifindex } = setup;
    const { link } = namespace.enter(() => attachXdp(requestOf(setup, "native")));
    link.detach();
    expect(link.info().ifindex).toBe(0);
    expect(namespace.enter(() => queryXdp(ifindex))).toBeUndefined();
    expect(catchError(() => link.update(setup.object.program("xdp_second"))).message).toContain("ENOLINK");
    link.close();
    setup.close();
  });

  const occupants = [
    { name: "a link", byLink: true },
    { name: "a program without a link", byLink: false },
  ];
  for (const { name, byLink } of occupants) {
    it(`never push ${name} aside, and name it`, () => {
      const setup = setUp();
      const { namespace, object, ifindex } = setup;
      const path = join(makePinDirectory(), "other");
      const other = object.program("xdp_second");
      other.pin(path);
      const holder = byLink
        ? namespace.enter(() => attachXdp(requestOf(setup, "native", "xdp_second")))
        : undefined;
      if (!byLink) namespace.run("ip", "link", "set", "dev", "left", "xdpdrv", "pinned", path);
      for (const mode of ["auto", "native", "generic"] as const) {
        const error = catchError(() => namespace.enter(() => attachXdp(requestOf(setup, mode))));
        expect(error).toMatchObject({ code: "xdp-occupied", disposition: "stalled" });
        expect(error.message).toBe(
          `Cannot attach xdp_first to left: XDP program xdp_second (id ${other.info().id}, native) is there`,
        );
        expect(error.remedy).toContain("ip link set dev left xdp off");
      }
      expect(namespace.enter(() => queryXdp(ifindex))?.programId).toBe(other.info().id);
      holder?.link.close();
      setup.close();
    });
  }

  it("fall back to generic mode where the driver has none, and say why", () => {
    const setup = setUp();
    // A veth without native XDP: its MTU is more than a page holds.
    setup.namespace.run("ip", "link", "set", "left", "mtu", "9000");
    setup.namespace.run("ip", "link", "set", "right", "mtu", "9000");
    const error = catchError(() => setup.namespace.enter(() => attachXdp(requestOf(setup, "native"))));
    expect(error.code).toBe("kernel-call-failed");
    expect(error.message).toMatch(/^Cannot attach xdp_first to left: E[A-Z]+ /);
    expect(error.remedy).toContain("generic");
    const { link, mode, fallback } = setup.namespace.enter(() => attachXdp(requestOf(setup, "auto")));
    expect(mode).toBe("generic");
    expect(fallback).toMatch(/^E[A-Z]+ \(\d+\)$/);
    link.close();
    setup.close();
  });

  it("say that an interface does not exist", () => {
    const setup = setUp();
    const request = { ...requestOf(setup, "auto"), ifindex: 0x7000_0000, interfaceName: "gone" };
    const error = catchError(() => setup.namespace.enter(() => attachXdp(request)));
    expect(error.message).toContain("Cannot attach xdp_first to gone");
    setup.close();
  });
});

describeKernel("TC programs", () => {
  for (const mode of ["auto", "tcx", "clsact"] as const) {
    it(`see packets in both directions and are exchanged in place: ${mode}`, () => {
      const setup = setUp();
      const { namespace, object, ifindex, send, sendOut, hits } = setup;
      const place = { ifindex, interfaceName: "left", mode };
      const [first, second] = [object.program("tc_first"), object.program("tc_second")];
      const incoming = namespace.enter(() => attachTc({ ...place, program: first, direction: "ingress" }));
      const outgoing = namespace.enter(() => attachTc({ ...place, program: second, direction: "egress" }));
      expect(incoming.kind).toBe(mode === "clsact" ? "clsact" : "tcx");
      send();
      const seen = hits(2);
      expect(seen).toBeGreaterThan(0n);
      sendOut();
      expect(hits(3)).toBeGreaterThan(0n);
      namespace.enter(() => {
        for (const attachment of [incoming, outgoing]) {
          if (attachment.kind === "tcx") {
            expect(attachment.link.info()).toMatchObject({ type: "tcx", ifindex });
            attachment.link.update(second);
            attachment.link.close();
            expect(() => attachment.link.info()).toThrow("closed");
          } else {
            expect(queryTcFilter(attachment.filter)).toBeDefined();
            updateTcFilter(attachment.filter, second);
            expect(queryTcFilter(attachment.filter)).toBe(second.info().id);
            expect(detachTcFilter(attachment.filter)).toBe(true);
            expect(detachTcFilter(attachment.filter)).toBe(false);
            expect(queryTcFilter(attachment.filter)).toBeUndefined();
          }
        }
      });
      const after = hits(3);
      send();
      sendOut();
      expect([hits(2), hits(3)]).toEqual([seen, after]);
      setup.close();
    });
  }

  it("of an earlier run are found and taken over, but only when asked for", () => {
    const setup = setUp();
    const { namespace, object, ifindex } = setup;
    const request = {
      program: object.program("tc_first"),
      ifindex,
      interfaceName: "left",
      direction: "ingress",
      mode: "clsact",
    } as const;
    namespace.enter(() => {
      attachTc(request);
      expect(catchError(() => attachTc(request)).message).toContain("EEXIST (17), a filter of ours is there");
      const second = { ...request, program: object.program("tc_second"), replace: true };
      const taken = attachTc(second);
      expect(taken.kind === "clsact" ? queryTcFilter(taken.filter) : 0).toBe(second.program.info().id);
    });
    setup.close();
  });
});

describeKernel("uprobe links", () => {
  // A function of the C library that this process can call when it likes, and that nobody else calls often.
  const symbol = "if_nametoindex";
  const path = "libc.so.6";

  it("see calls and returns, for this process alone, until they are closed", () => {
    const object = openObject(compileBpf("verdicts"));
    const hits = object.map("hits").mmap();
    const before = readdirSync("/proc/self/fd").length;
    const request = { path, symbol, pid: process.pid };
    const entry = attachUprobe({ ...request, program: object.program("uprobe_call") });
    const exit = attachUprobe({ ...request, program: object.program("uprobe_return"), atReturn: true });
    expect(readdirSync("/proc/self/fd").length).toBe(before + 2);
    expect(entry.info()).toMatchObject({
      type: "perf-event",
      programId: object.program("uprobe_call").info().id,
    });
    for (let i = 0; i < 5; i++) libc().if_nametoindex("lo");
    expect([Atomics.load(hits.words, 4), Atomics.load(hits.words, 5)]).toEqual([5n, 5n]);
    entry.close();
    exit.close();
    libc().if_nametoindex("lo");
    expect([Atomics.load(hits.words, 4), Atomics.load(hits.words, 5)]).toEqual([5n, 5n]);
    expect(readdirSync("/proc/self/fd").length).toBe(before);
    hits.close();
    object.close();
  });

  it("stay when pinned, though link and object are closed", async () => {
    const pin = join(makePinDirectory(), "uprobe");
    const object = openObject(compileBpf("verdicts"));
    const hits = object.map("hits").mmap();
    const link = attachUprobe({ path, symbol, program: object.program("uprobe_call"), pid: process.pid });
    link.pin(pin);
    link.close();
    object.close();
    libc().if_nametoindex("lo");
    expect(Atomics.load(hits.words, 4)).toBe(1n);
    unpin(pin);
    const callOnce = () => {
      const before = Atomics.load(hits.words, 4);
      libc().if_nametoindex("lo");
      return Atomics.load(hits.words, 4) - before;
    };
    await expect.poll(callOnce).toBe(0n);
    hits.close();
  });

  it("name file and symbol when there is no such function", () => {
    const object = openObject(compileBpf("verdicts"));
    const program = object.program("uprobe_call");
    const error = catchError(() => attachUprobe({ path, symbol: "no_such_function", program }));
    expect(error.message).toContain("Cannot attach uprobe_call to no_such_function of libc.so.6");
    expect(catchError(() => attachUprobe({ path: "/nonexistent.so", symbol, program })).message).toContain(
      "/nonexistent.so",
    );
    object.close();
  });
});
