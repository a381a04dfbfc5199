// Connection tracking between real stacks: both programs on a veth pair between two namespaces, and what TCP, UDP and
// ICMP of the kernel do over it. Nothing that a stack sends is invalid. Connections end when nobody is there.
import { type ChildProcess, spawn } from "node:child_process";
import { afterAll, expect, it, vi } from "vitest";
import {
  attachTc,
  createTestRunner,
  openObject,
  openPinnedMap,
  openProgramById,
} from "../../src/bpf/index.ts";
import type { Endpoint } from "../../src/kinds/conntrack/model.ts";
import { ConntrackLab } from "../fixtures/conntrack-lab.ts";
import { frameOf } from "../fixtures/conntrack-packets.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeNamespace, type TestNamespace } from "../fixtures/network-namespace.ts";

const bytesSent = 8_000_000;
const running = new Set<ChildProcess>();

afterAll(() => {
  for (const child of running) child.kill("SIGKILL");
});

/** Runs a script of Node in the namespace; resolves with its output when it ends, or says `ready` first. */
function start(namespace: TestNamespace, script: string) {
  const child = spawn(
    "nsenter",
    [`--net=/run/netns/${namespace.name}`, "--", process.execPath, "-e", script],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  running.add(child);
  let output = "";
  let tellReady = () => {};
  const ready = new Promise<void>((resolve) => {
    tellReady = resolve;
  });
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
    if (output.includes("ready")) tellReady();
  });
  const ended = new Promise<string>((resolve) => {
    child.on("close", () => {
      running.delete(child);
      tellReady();
      resolve(output.replace("ready", ""));
    });
  });
  return { ready, ended };
}

/** Takes one connection: counts what comes, answers the count, and closes when the client does. */
const server = (address: string) => `
  const server = require("node:net").createServer({ allowHalfOpen: true }, (socket) => {
    let bytes = 0;
    socket.on("data", (chunk) => { bytes += chunk.length; });
    socket.on("end", () => { socket.end(String(bytes)); server.close(); });
  });
  server.listen(443, "${address}", () => process.stdout.write("ready"));
`;
const client = (address: string) => `
  const socket = require("node:net").connect(443, "${address}", () => socket.end(Buffer.alloc(${bytesSent})));
  socket.on("data", (chunk) => process.stdout.write(chunk));
`;
const refused = (address: string) => `
  require("node:net").connect(81, "${address}").on("error", (error) => process.stdout.write(error.code));
`;
/** To a port where nobody listens: the kernel answers with ICMP. */
const unreachable = (address: string) => `
  const socket = require("node:dgram").createSocket("${address.includes(":") ? "udp6" : "udp4"}");
  socket.on("error", (error) => { process.stdout.write(error.code); socket.close(); });
  socket.connect(9, "${address}", () => socket.send("to nobody"));
`;

describeKernel("connection tracking between real stacks", () => {
  it.each([
    ["IPv4", "10.9.0.1", "10.9.0.2", "24"],
    ["IPv6", "fd00:9::1", "fd00:9::2", "64"],
  ])(
    "follows a transfer, a refusal and an unreachable port over %s",
    async (_, hostAddress, peerAddress, length) => {
      const host = makeNamespace();
      const peer = makeNamespace();
      host.run("ip", "link", "add", "left", "type", "veth", "peer", "name", "right", "netns", peer.name);
      for (const [namespace, end, address] of [
        [host, "left", hostAddress],
        [peer, "right", peerAddress],
      ] as const) {
        namespace.run(
          "ip",
          "address",
          "add",
          `${address}/${length}`,
          "dev",
          end,
          ...(length === "64" ? ["nodad"] : []),
        );
        namespace.run("ip", "link", "set", end, "up");
      }
      const ifindex = indexOf(host);
      const lab = new ConntrackLab();
      lab.bind(ifindex);
      const links = (["ingress", "egress"] as const).map((direction) =>
        host.enter(() => {
          const program = lab.object.program(`tc_conntrack_${direction}`);
          return attachTc({ program, ifindex, interfaceName: "left", direction, mode: "tcx" });
        }),
      );

      const serving = start(host, server(hostAddress));
      await serving.ready;
      expect(await start(peer, client(hostAddress)).ended).toBe(String(bytesSent));
      await serving.ended;
      const [transfer] = await lab.entries();
      expect(transfer?.state).toBe("time-wait");
      const sent = transfer?.value.side.map(({ bytes }) => Number(bytes)) ?? [];
      expect(Math.max(...sent)).toBeGreaterThan(bytesSent);
      expect(transfer?.value.side.map(({ hasScale }) => hasScale)).toEqual([1, 1]);

      expect(await start(peer, refused(hostAddress)).ended).toBe("ECONNREFUSED");
      expect(await start(peer, unreachable(hostAddress)).ended).toBe("ECONNREFUSED");
      const states = (await lab.entries()).map(({ state }) => state).sort();
      expect(states.filter((state) => !state.startsWith("other"))).toEqual([
        "closed",
        "time-wait",
        "udp-new",
      ]);
      expect([lab.stat("invalid"), lab.stat("contended"), lab.stat("related")]).toEqual([0, 0, 1]);
      for (const link of links) if (link.kind === "tcx") link.link.close();
      lab.close();
    },
  );

  it("ends connections at their timeouts though no process has the programs any more", async () => {
    const lab = new ConntrackLab({ timeouts: { "udp-new": 1 } });
    const directory = makePinDirectory();
    const path = `${directory}/connections`;
    for (const name of ["connections", "ct_sweeper"]) lab.map(name).pin(`${directory}/${name}`);
    const end = (n: number): Endpoint => ({ address: `198.51.100.${n}`, port: 53 });
    for (let n = 0; n < 20; n++)
      lab.track(frameOf({ kind: "packet", source: end(n), destination: end(200), protocol: 17 }), "ingress");
    lab.close();
    const map = openPinnedMap(path);
    await vi.waitFor(async () => expect((await map?.readAll())?.count).toBe(0), { timeout: 50_000 });
    map?.close();
  });

  it("keeps no program that was replaced, once its timer was taken over", async () => {
    const lab = new ConntrackLab({ timeouts: { "udp-new": 1 } });
    const end = (n: number): Endpoint => ({ address: `198.51.100.${n}`, port: 53 });
    const frame = frameOf({ kind: "packet", source: end(1), destination: end(2), protocol: 17 });
    lab.track(frame, "ingress");
    const maxEntries = Object.fromEntries([...lab.object.maps].map(([name, map]) => [name, map.entriesMax]));
    const next = openObject(lab.object.path, { maxEntries, sharedMaps: Object.fromEntries(lab.object.maps) });
    const replaced = lab.object.program("tc_conntrack_ingress").info().id;
    createTestRunner(next.program("tc_conntrack_adopt")).run(new Uint8Array(16));
    lab.close();
    await vi.waitFor(() => expect(() => openProgramById(replaced).close()).toThrow(), { timeout: 20_000 });
    await vi.waitFor(async () => expect((await next.map("connections").readAll()).count).toBe(0), {
      timeout: 20_000,
    });
    next.close();
  });
});

function indexOf(namespace: TestNamespace): number {
  return Number(/^(\d+):/.exec(namespace.run("ip", "-o", "link", "show", "left"))?.[1]);
}
