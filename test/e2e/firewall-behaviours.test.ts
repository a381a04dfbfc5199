// What a user of a firewall can see from outside, each asserted by packets of real stacks on the wire:
// docs/behaviours.md lists all of them with the tests that hold them.
import { beforeAll, describe, expect, test } from "vitest";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import { icmp, ipv4, tcp, udp } from "../fixtures/packets.ts";
import { clientAddress, EdgeWorld, edge, hostAddress } from "./edge-world.ts";

const tcpTo = (ports: string) => `match: { protocol: tcp, destinationPorts: [${ports}] }`;

describeKernel("a firewall", () => {
  let world: EdgeWorld;

  beforeAll(async () => {
    world = new EdgeWorld();
    for (const port of [7777, 8080, 9989, 9995]) await world.server.listen(port);
    await world.server.echo(5353);
  });

  const reaches = (port: number) => world.client.reaches(hostAddress.v4, port);
  const reaches6 = (port: number) => world.client.reaches(hostAddress.v6, port);

  test("before any policy lets everything through", async () => {
    expect([await reaches(8080), await reaches6(8080)]).toEqual(["open", "open"]);
    expect(await world.pings(clientAddress.v4, hostAddress.v4)).toBe(true);
    expect(await world.pings(clientAddress.v6, hostAddress.v6)).toBe(true);
  });

  describe("with a default of pass", () => {
    beforeAll(() =>
      world.apply(
        edge(
          "pass",
          "{ name: near, action: pass, match: { protocol: icmp, source: { prefixes: [192.0.2.0/29] } } }",
          "{ name: no-ping, action: drop, match: { protocol: [icmp] } }",
          `{ name: range, action: drop, ${tcpTo('"9990-9999"')} }`,
          `{ name: one, action: drop, ${tcpTo("7777")} }`,
          `{ name: seen, action: log, ${tcpTo("8080")} }`,
        ),
      ),
    );

    test("is attached, as the kernel's own tool says", () => {
      expect(world.host.namespace.run("ip", "link", "show", "eth0")).toMatch(/\bxdp\b/);
    });

    test("is decided by the first rule that matches", async () => {
      expect(await world.pings(clientAddress.v4, hostAddress.v4)).toBe(true);
      world.host.peer.run("ip", "address", "add", "192.0.2.99/24", "dev", "far");
      expect(await world.pings("192.0.2.99", hostAddress.v4)).toBe(false);
    });

    test("drops a range of ports, and no port beside it", async () => {
      expect([await reaches(9995), await reaches(9989)]).toEqual(["timeout", "open"]);
      expect([await reaches(9990), await reaches(9999)]).toEqual(["timeout", "timeout"]);
      // Nobody listens there: the refusal says that the packet came through.
      expect(await reaches(10000)).toBe("ECONNREFUSED");
    });

    test("drops one port for every client, of both families", async () => {
      expect([await reaches(7777), await reaches6(7777)]).toEqual(["timeout", "timeout"]);
    });

    test("lets through what no rule names, and what a log rule names", async () => {
      expect([await reaches(8080), await reaches6(8080)]).toEqual(["open", "open"]);
      expect(await world.client.ask(hostAddress.v4, 5353)).toBe("done");
      expect((await world.counters())["edge/seen"]).toBeGreaterThan(0);
    });
  });

  describe("with rules for tags, and rules that tell of packets", () => {
    beforeAll(() =>
      world.apply(
        edge(
          "pass",
          "{ name: tag-100, action: drop, match: { vlan: 100, protocol: udp } }",
          "{ name: untagged, action: drop, match: { vlan: none, protocol: udp, destinationPorts: [4000] } }",
          `{ name: told, action: drop, log: true, ${tcpTo("7777")} }`,
        ),
      ),
    );

    const datagram = (destinationPort: number) =>
      ipv4({ source: clientAddress.v4, destination: hostAddress.v4 }, udp({ destinationPort }));

    test("tells tagged frames from untagged ones", async () => {
      const before = await world.counters();
      world.send(datagram(4000));
      world.send(datagram(4000), { tags: [{ vid: 100 }] });
      world.send(datagram(4000), { tags: [{ vid: 101 }] });
      world.send(datagram(5353));
      await expect
        .poll(async () => {
          const after = await world.counters();
          return ["edge/tag-100", "edge/untagged"].map((name) => (after[name] ?? 0) - (before[name] ?? 0));
        })
        .toEqual([1, 1]);
    });

    test("tells of each packet of a burst, at once", async () => {
      const follower = world.host.start("events", "--follow", "-n", "0", "-o", "json");
      await expect
        .poll(async () => {
          await reaches(7777);
          return follower.out.includes("edge/told");
        })
        .toBe(true);
      const before = follower.out.split("\n").length;
      for (let sourcePort = 1000; sourcePort < 1040; sourcePort++)
        world.send(
          ipv4(
            { source: clientAddress.v4, destination: hostAddress.v4 },
            tcp({ sourcePort, destinationPort: 7777, flags: 2 }),
          ),
        );
      await expect.poll(() => follower.out.split("\n").length - before).toBeGreaterThanOrEqual(40);
      const last = JSON.parse(follower.out.trim().split("\n").at(-1) ?? "{}");
      expect(last).toMatchObject({
        verdict: "drop",
        rule: "edge/told",
        reason: "rule-drop",
        interface: "eth0",
      });
      await follower.stop();
    });
  });

  describe("with a default of drop", () => {
    const both = edge("drop", `{ name: web, action: pass, ${tcpTo("8080")} }`);

    beforeAll(() => world.apply(both));

    test("lets both halves of an allowed connection through, and nothing else", async () => {
      const connection = await world.client.connect(hostAddress.v4, 8080);
      expect(connection.result).toBe("open");
      expect(await connection.exchange("there and back")).toBe("done");
      await connection.close();
      expect([await reaches(9989), await reaches6(9989)]).toEqual(["timeout", "timeout"]);
    });

    test("counts each packet under exactly one reason", async () => {
      const before = await world.counters();
      for (let i = 0; i < 50; i++)
        world.send(
          ipv4({ source: clientAddress.v4, destination: hostAddress.v4 }, udp({ destinationPort: 9 })),
        );
      await expect
        .poll(async () => (await world.counters())["default-drop"])
        .toBe((before["default-drop"] ?? 0) + 50);
    });

    test("takes up a changed rule with the next packet, and keeps the others", async () => {
      await world.apply(
        edge(
          "drop",
          `{ name: no-8080, action: drop, ${tcpTo("8080")} }`,
          `{ name: web, action: pass, ${tcpTo("8080, 9989")} }`,
        ),
      );
      expect([await reaches(8080), await reaches(9989)]).toEqual(["timeout", "open"]);
      await world.apply(both);
      expect([await reaches(8080), await reaches(9989)]).toEqual(["open", "timeout"]);
    });

    test("stays as it is when a revision is broken", async () => {
      world.write("kind: [Firewall");
      const { code, err } = await world.host.run("apply", "--repo", world.repository);
      expect(code).toBe(1);
      expect(err).toContain("edge.yaml:1");
      expect([await reaches(8080), await reaches(9989)]).toEqual(["open", "timeout"]);
      await world.apply(both);
    });

    test("refuses datagrams to amplifiers, and no answer leaves", async () => {
      world.wire.take();
      for (const destinationPort of [53, 123, 1900, 11211])
        for (let i = 1; i < 20; i++)
          world.send(
            ipv4({ source: `198.51.100.${i}`, destination: hostAddress.v4 }, udp({ destinationPort })),
          );
      world.send(ipv4({ source: clientAddress.v4, destination: hostAddress.v4 }, icmp({ type: 8 })));
      expect(await reaches(8080)).toBe("open");
      const answers = world.wire
        .take()
        .filter((frame) => frame[12] === 8 && frame[13] === 0 && frame[23] !== 6);
      expect(answers).toEqual([]);
    });
  });
});
