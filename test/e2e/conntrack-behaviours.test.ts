// Connection tracking as its users see it: what passes because of a connection, what the table says of it, and what
// becomes of connections when policy changes.
import { beforeAll, describe, expect, test } from "vitest";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import { icmp, ipv4, tcp, udp } from "../fixtures/packets.ts";
import { clientAddress, EdgeWorld, edge, hostAddress } from "./edge-world.ts";

const tracked = [
  "apiVersion: penstock/v1",
  "kind: Conntrack",
  "metadata: { name: uplinks }",
  "spec: { interfaces: [eth0], timeouts: { tcp: { timeWait: 1s, closed: 1s } } }",
  "",
].join("\n");

const passTo = (port: number) =>
  `{ name: web, action: pass, match: { protocol: tcp, destinationPorts: [${port}] } }`;

interface Listed {
  readonly total: number;
  readonly connections: readonly {
    readonly protocol: string;
    readonly state: string;
    readonly rule: string | null;
    readonly source: { readonly address: string; readonly port: number };
    readonly destination: { readonly address: string; readonly port: number; readonly packets: number };
  }[];
}

describeKernel("connection tracking", () => {
  let world: EdgeWorld;

  beforeAll(async () => {
    world = new EdgeWorld();
    for (const port of [8080, 9090]) await world.server.listen(port);
    for (const port of [7070]) await world.client.listen(port);
    await world.client.echo(5353);
    await world.apply(edge("drop", passTo(8080)), tracked);
  });

  const list = async (...words: string[]) =>
    (await world.host.json("conntrack", "list", ...words)) as unknown as Listed;

  test("has its programs on the interface", async () => {
    const { attached } = await world.host.json("status");
    expect(attached).toEqual(
      ["tc_conntrack_egress", "tc_conntrack_ingress"]
        .map((program) => expect.objectContaining({ program, interface: "eth0", mode: "tcx" }))
        .concat(expect.objectContaining({ program: "xdp_firewall", interface: "eth0" })),
    );
  });

  test("lists a connection with its ends, its state and its rule", async () => {
    const connection = await world.client.connect(hostAddress.v4, 8080);
    expect(connection.result).toBe("open");
    expect(await connection.exchange("hello")).toBe("done");
    const { connections } = await list("--port", "8080", "--state", "established");
    expect(connections).toEqual([
      expect.objectContaining({
        protocol: "tcp",
        state: "established",
        rule: "edge/web",
        source: expect.objectContaining({ address: clientAddress.v4 }),
        destination: expect.objectContaining({ address: hostAddress.v4, port: 8080 }),
      }),
    ]);
    expect(connections[0]?.destination.packets).toBeGreaterThan(1);
    const stats = await world.host.json("conntrack", "stats");
    expect(stats).toMatchObject({ connections: expect.any(Number), capacity: 262_144 });
    expect(stats["counts"]).toMatchObject({ created: expect.any(Number), replied: expect.any(Number) });
    await connection.close();
  });

  test("lets answers to what the host sends through without a rule, and nothing else", async () => {
    expect(await world.server.reaches(clientAddress.v4, 7070)).toBe("open");
    expect(await world.server.ask(clientAddress.v4, 5353)).toBe("done");
    expect(await world.client.reaches(hostAddress.v4, 9090)).toBe("timeout");
    expect(await world.client.reaches(hostAddress.v6, 9090)).toBe("timeout");
    expect(await world.server.reaches(clientAddress.v6, 7070)).toBe("timeout");
  });

  test("counts what passes as established", async () => {
    const before = await world.counters();
    const connection = await world.client.connect(hostAddress.v4, 8080);
    for (let i = 0; i < 20; i++) expect(await connection.exchange("ping")).toBe("done");
    await connection.close();
    const after = await world.counters();
    expect((after["established"] ?? 0) - (before["established"] ?? 0)).toBeGreaterThan(20);
    expect((after["edge/web"] ?? 0) - (before["edge/web"] ?? 0)).toBeGreaterThan(20);
  });

  test("forgets a connection that is flushed", async () => {
    const connection = await world.client.connect(hostAddress.v4, 8080);
    const port = "8080";
    expect((await list("--port", port, "--state", "established")).total).toBe(1);
    const { flushed } = await world.host.json("conntrack", "flush", "--port", port);
    expect(flushed).toBeGreaterThan(0);
    expect((await list("--port", port)).total).toBe(0);
    // Nobody takes it up in its middle: what the client sends is invalid and meets a rule for new ones only by its port.
    await connection.close(true);
  });

  describe("when policy changes", () => {
    test("a connection that is forbidden ends with its next packet", async () => {
      await world.apply(edge("drop", passTo(8080)), tracked);
      const connection = await world.client.connect(hostAddress.v4, 8080);
      expect(await connection.exchange("before")).toBe("done");
      await world.apply(edge("drop", passTo(9090)), tracked);
      expect(await connection.exchange("after")).toBe("timeout");
      expect((await list("--port", "8080", "--state", "established")).total).toBe(0);
      expect(await world.client.reaches(hostAddress.v4, 8080)).toBe("timeout");
      expect((await list("--port", "8080", "--state", "syn-sent")).total).toBe(0);
      await world.apply(edge("drop", passTo(8080)), tracked);
      expect(await world.client.reaches(hostAddress.v4, 8080)).toBe("open");
      await connection.close(true);
    });

    test("a connection that is still allowed goes on", async () => {
      const connection = await world.client.connect(hostAddress.v4, 8080);
      expect(await connection.exchange("before")).toBe("done");
      await world.apply(
        edge("drop", "{ name: first, action: drop, match: { protocol: udp } }", passTo(8080)),
        tracked,
      );
      expect(await connection.exchange("after")).toBe("done");
      await connection.close();
    });
  });

  describe("rules that ask for a state", () => {
    beforeAll(() =>
      world.apply(
        edge(
          "drop",
          "{ name: invalid, action: drop, match: { state: [invalid] } }",
          "{ name: related, action: pass, match: { state: [related] } }",
          "{ name: new, action: pass, match: { protocol: [tcp, udp], state: [new] } }",
        ),
        tracked,
      ),
    );

    test("tell a packet out of nowhere from one that begins a connection", async () => {
      const before = await world.counters();
      const ends = { source: clientAddress.v4, destination: hostAddress.v4 };
      world.send(ipv4(ends, tcp({ sourcePort: 4000, destinationPort: 8080, flags: 0x10 })));
      await expect
        .poll(async () => (await world.counters())["edge/invalid"])
        .toBe((before["edge/invalid"] ?? 0) + 1);
      expect(await world.client.reaches(hostAddress.v4, 8080)).toBe("open");
      expect((await world.counters())["edge/new"]).toBeGreaterThan(before["edge/new"] ?? 0);
    });

    test("let errors about a connection through, and no other errors", async () => {
      // A closed port of the client: its stack answers with an error about the datagram in it.
      expect(await world.server.ask(clientAddress.v4, 5999)).toBe("ECONNREFUSED");
      expect((await world.counters())["edge/related"]).toBe(1);
      const stray = ipv4(
        { source: hostAddress.v4, destination: clientAddress.v4 },
        udp({ sourcePort: 1, destinationPort: 2 }),
      );
      const ends = { source: clientAddress.v4, destination: hostAddress.v4 };
      const before = (await world.counters())["edge/invalid"] ?? 0;
      world.send(
        ipv4(ends, icmp({ type: 3, code: 3, payload: Buffer.concat([new Uint8Array(4), stray.bytes]) })),
      );
      await expect.poll(async () => (await world.counters())["edge/invalid"]).toBe(before + 1);
      expect((await world.counters())["edge/related"]).toBe(1);
    });
  });
});
