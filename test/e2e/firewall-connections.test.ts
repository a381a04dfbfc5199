// Connections as a user of the firewall sees them: limits that hold however many ask at once, sources that are blocked
// for a time, and what a commit means for connections that are there.
import { beforeAll, describe, expect, test } from "vitest";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import { ipv4, tcp } from "../fixtures/packets.ts";
import { type Connection, Station } from "../fixtures/station.ts";
import { clientAddress, EdgeWorld, edge, hostAddress } from "./edge-world.ts";

/** Addresses of the client besides its first. */
const sources = Array.from({ length: 8 }, (_, i) => `192.0.2.${101 + i}`);
const processes = 4;
const burst = 1000;
/** Long enough for an answer on a busy machine; whoever is refused waits for it. */
const patienceMs = 1500;

const ports = {
  marked: 6001,
  total: 7001,
  source: 7002,
  blocking: 7003,
  brief: 7004,
  expiring: 7005,
  web: 8080,
  other: 9090,
};

const tracked = [
  "apiVersion: penstock/v1",
  "kind: Conntrack",
  "metadata: { name: tracked }",
  "spec: { interfaces: [eth0], timeouts: { tcp: { synSent: 2s, closed: 1s } } }",
  "",
].join("\n");

/** In generic mode packets are judged on the processor that sends them, and so on several at once. */
const generic = [
  "apiVersion: penstock/v1",
  "kind: InterfaceGroup",
  "metadata: { name: eth0 }",
  "spec: { interfaces: [eth0], attach: generic }",
  "",
].join("\n");

function pass(name: string, port: number, more = ""): string {
  return `{ name: ${name}, action: pass, match: { protocol: tcp, destinationPorts: [${port}] }${more} }`;
}

describeKernel("connections", () => {
  let world: EdgeWorld;
  let clients: readonly Station[] = [];

  beforeAll(async () => {
    world = new EdgeWorld();
    clients = Array.from({ length: processes }, () => new Station(world.host.peer));
    for (const source of sources) world.host.peer.run("ip", "address", "add", `${source}/24`, "dev", "far");
    for (const port of Object.values(ports)) await world.server.listen(port);
  });

  /** All at once, from all processes; source n mod 8 for the nth. */
  async function connectAll(count: number, port: number): Promise<Connection[][]> {
    const bySource = sources.map((): Connection[] => []);
    await Promise.all(
      Array.from({ length: count }, async (_, n) => {
        const s = n % sources.length;
        const localAddress = sources[s] ?? "";
        // Each source uses all processes.
        const station = clients[Math.floor(n / sources.length) % processes] ?? world.client;
        const connection = await station.connect(hostAddress.v4, port, {
          localAddress,
          timeoutMs: patienceMs,
        });
        if (connection.result === "open") bySource[s]?.push(connection);
      }),
    );
    return bySource;
  }

  const connect = (port: number, localAddress: string = clientAddress.v4) =>
    world.client.connect(hostAddress.v4, port, { localAddress });

  const known = async (port: number) =>
    Number((await world.host.json("conntrack", "list", "--port", String(port)))["total"]);

  describe("a limit", () => {
    beforeAll(() =>
      world.apply(
        generic,
        tracked,
        edge(
          "drop",
          pass("total", ports.total, ", limits: { connections: 500 }"),
          pass("source", ports.source, ", limits: { connectionsPerSource: 9 }"),
          pass("expiring", ports.expiring, ", limits: { connections: 3 }"),
        ),
      ),
    );

    test("of a rule lets through as many as it says of a thousand at once, and others when some have ended", async () => {
      const open = (await connectAll(burst, ports.total)).flat();
      expect([open.length, await known(ports.total)]).toEqual([500, 500]);
      for (const connection of open.slice(0, 10)) await connection.close(true);
      await expect.poll(() => known(ports.total), { timeout: 20_000 }).toBe(490);
      const again = (await connectAll(40, ports.total)).flat();
      expect([again.length, await known(ports.total)]).toEqual([10, 500]);
      expect(await open[50]?.exchange("still there")).toBe("done");
      for (const connection of [...open.slice(10), ...again]) await connection.close(true);
    });

    test("of a source lets through as many of each", async () => {
      const open = await connectAll(burst, ports.source);
      expect(open.map(({ length }) => length)).toEqual(sources.map(() => 9));
      expect(await known(ports.source)).toBe(9 * sources.length);
      for (const connection of open.flat()) await connection.close(true);
    });

    test("counts what nobody answers, until it expires", async () => {
      const refused = async () => (await world.counters())["limit"] ?? 0;
      const before = await refused();
      const knock = () => {
        for (let i = 1; i <= 5; i++)
          world.send(
            ipv4(
              { source: `198.51.100.${i}`, destination: hostAddress.v4 },
              tcp({ sourcePort: 1000, destinationPort: ports.expiring, flags: 2 }),
            ),
          );
      };
      knock();
      await expect.poll(refused).toBe(before + 2);
      await expect.poll(() => known(ports.expiring), { timeout: 20_000 }).toBe(0);
      knock();
      await expect.poll(refused).toBe(before + 4);
    });
  });

  describe("a block", () => {
    const [held = "", brief = "", longer = "", neighbour = ""] = sources;

    beforeAll(() =>
      world.apply(
        tracked,
        edge(
          "drop",
          "{ name: ping, action: pass, match: { protocol: icmp } }",
          pass("blocking", ports.blocking, ", limits: { connectionsPerSource: 2, block: 1h }"),
          pass("brief", ports.brief, ", limits: { connectionsPerSource: 1, block: 1s }"),
        ),
      ),
    );

    const blocked = async () =>
      (await world.host.json("blocks", "list"))["blocks"] as unknown as readonly {
        readonly source: string;
        readonly remaining: number;
        readonly rule: string;
      }[];

    /** Since the last call. */
    const readEvents = async () => {
      const { out } = await world.host.run("events", "-o", "json");
      const lines = out.split("\n").filter((line) => line !== "");
      return lines.map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
    };

    test("shuts out everything from the source, and no other; ends when somebody says so", async () => {
      const open = [await connect(ports.blocking, held), await connect(ports.blocking, held)];
      expect(open.map(({ result }) => result)).toEqual(["open", "open"]);
      expect([await world.pings(held, hostAddress.v4), await blocked()]).toEqual([true, []]);

      expect((await connect(ports.blocking, held)).result).toBe("timeout");
      expect(await world.pings(held, hostAddress.v4)).toBe(false);
      expect(await open[0]?.exchange("anybody there?")).toBe("timeout");
      expect(await world.pings(neighbour, hostAddress.v4)).toBe(true);
      expect((await connect(ports.blocking, neighbour)).result).toBe("open");

      const [block, ...others] = await blocked();
      expect([block?.source, block?.rule, others]).toEqual([held, "edge/blocking", []]);
      expect(block?.remaining).toBeGreaterThan(3000);
      expect(block?.remaining).toBeLessThanOrEqual(3601);
      const tells = {
        kind: "blocked",
        verdict: "drop",
        source: held,
        rule: "edge/blocking",
        reason: "limit",
      };
      expect(await readEvents()).toEqual([expect.objectContaining(tells)]);

      expect((await world.host.run("blocks", "remove", held)).code).toBe(0);
      expect([await world.pings(held, hostAddress.v4), await blocked()]).toEqual([true, []]);
      expect((await world.host.run("blocks", "remove", held)).code).toBe(1);
    });

    test("is over when its time is, and no other with it", async () => {
      await connect(ports.blocking, longer);
      await connect(ports.blocking, longer);
      expect((await connect(ports.blocking, longer)).result).toBe("timeout");
      expect((await connect(ports.brief, brief)).result).toBe("open");
      expect((await connect(ports.brief, brief)).result).toBe("timeout");
      const events = await readEvents();
      expect(events.map(({ kind, source }) => [kind, source])).toEqual([
        ["blocked", longer],
        ["blocked", brief],
      ]);
      await expect.poll(() => world.pings(brief, hostAddress.v4), { timeout: 20_000 }).toBe(true);
      expect(await world.pings(longer, hostAddress.v4)).toBe(false);
      expect((await blocked()).map(({ source }) => source)).toEqual([longer]);
    });
  });

  describe("that are there when a commit comes", () => {
    const web = pass("web", ports.web);
    const marked = pass("marked", ports.marked, ", mark: 5");
    const other = pass("other", ports.other, ", limits: { connections: 1 }");
    const unrelated = pass("unrelated", 22);
    const keeping = (document: string) => document.replace("  nonIp", "  onChange: keep\n  nonIp");

    const openBoth = async () => {
      const both = [await connect(ports.web), await connect(ports.other)] as const;
      for (const connection of both) expect(await connection.exchange("hello")).toBe("done");
      return both;
    };

    test("end with the next packet if no rule lets them through, and the others go on", async () => {
      await world.apply(tracked, edge("drop", web, other));
      const [first, second] = await openBoth();
      await world.apply(tracked, edge("drop", web, other, unrelated));
      expect([await first.exchange("still"), await second.exchange("still")]).toEqual(["done", "done"]);
      await world.apply(tracked, edge("drop", other, unrelated));
      expect(await first.exchange("and now?")).toBe("timeout");
      expect(await second.exchange("and now?")).toBe("done");
      expect([await known(ports.web), await known(ports.other)]).toEqual([0, 1]);
      // It was not counted again, nor forgotten.
      expect((await connect(ports.other)).result).toBe("timeout");
      await second.close(true);
      await world.host.run("conntrack", "flush", "--yes");
    });

    test("go on if their document keeps them, also where rules have something to do with each packet", async () => {
      await world.apply(tracked, keeping(edge("drop", web, other, marked)));
      const open = [...(await openBoth()), await connect(ports.marked)];
      expect(await open[2]?.exchange("hello")).toBe("done");
      await world.apply(tracked, keeping(edge("drop", unrelated)));
      const go = await Promise.all(open.map((connection) => connection.exchange("still")));
      expect(go).toEqual(["done", "done", "done"]);
      expect((await connect(ports.web)).result).toBe("timeout");
    });
  });
});
