// Where this host's own answers leave when a rule says so: real stacks on a host with two uplinks, seen on the wire.
import { beforeAll, expect, it, vi } from "vitest";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import { Station } from "../fixtures/station.ts";
import { gateways, hostAddress, makeUplinksWorld, type UplinksWorld } from "../fixtures/uplinks-world.ts";

const replyTo = { interface: "wan1", nextHop: gateways("wan1") };
const long = "x".repeat(100_000);
/** One each connection, so that none is found in the place of another. */
let port = 8000;

for (const mode of ["native", "generic"] as const) {
  describeKernel(`answers of this host, ${mode} XDP`, () => {
    let world: UplinksWorld;
    let host: Station;
    let client: Station;

    beforeAll(async () => {
      world = await makeUplinksWorld(mode);
      host = new Station(world.host);
      client = new Station(world.client);
    });

    /** A connection that carries a long text both ways and ends; tells which uplink the answers left by. */
    const talk = async (address: string) => {
      await host.listen(++port);
      world.takeAnswers(port);
      const connection = await client.connect(address, port, { timeoutMs: 5000 });
      expect(connection.result).toBe("open");
      expect(await connection.exchange(long)).toBe("done");
      await connection.close();
      await vi.waitFor(async () => expect((await world.connectionTo(port)).state).toBe("time-wait"), 5000);
      return world.takeAnswers(port);
    };

    for (const family of [4, 6] as const) {
      it(`leave by the default route without a rule, and by the rule's with one, IPv${family}`, async () => {
        const address = hostAddress("wan1", family);
        await world.apply({});
        expect(await talk(address)).toMatchObject({ wan0: expect.toSatisfy((n) => n > 3), wan1: 0 });
        await world.apply({ replyTo });
        expect(await talk(address)).toMatchObject({ wan0: 0, wan1: expect.toSatisfy((n) => n > 3) });
      });

      it(`are in their connection once, though they meet two uplinks, IPv${family}`, async () => {
        await world.apply({ replyTo });
        const answers = await talk(hostAddress("wan1", family));
        expect((await world.connectionTo(port)).host).toBe(answers.wan1);
      });

      it(`leave by it when they are errors about a packet of the client's, IPv${family}`, async () => {
        await world.apply({ replyTo });
        world.takeAnswers("errors");
        expect(await client.ask(hostAddress("wan1", family), 9)).toBe("ECONNREFUSED");
        expect(world.takeAnswers("errors")).toEqual({ wan0: 0, wan1: 1 });
      });

      it(`are dropped, and leave by no other way, when the interface is missing, IPv${family}`, async () => {
        await world.apply({ replyTo: { interface: "wan2" } });
        await host.listen(++port);
        const connection = await client.connect(hostAddress("wan1", family), port);
        expect(connection.result).toBe("timeout");
        expect(world.takeAnswers(port)).toEqual({ wan0: 0, wan1: 0 });
      });
    }

    it("follow each commit, within a connection", async () => {
      await world.apply({});
      await host.listen(++port);
      const connection = await client.connect(hostAddress("wan1", 4), port, { timeoutMs: 5000 });
      world.takeAnswers(port);
      await world.apply({ replyTo });
      expect(await connection.exchange("first")).toBe("done");
      expect(world.takeAnswers(port)).toMatchObject({ wan0: 0 });
      await world.apply({});
      expect(await connection.exchange("second")).toBe("done");
      expect(world.takeAnswers(port)).toMatchObject({ wan1: 0 });
      await connection.close();
    });

    it("leave by the default route where the client came in by it, and so does what the host asks", async () => {
      await world.apply({ replyTo });
      expect(await talk(hostAddress("wan0", 4))).toMatchObject({ wan1: 0 });
      await client.listen(++port);
      const connection = await host.connect("198.51.100.9", port, { localPort: 5555, timeoutMs: 5000 });
      expect(await connection.exchange("asked")).toBe("done");
      expect(world.takeAnswers(5555)).toMatchObject({ wan1: 0 });
      await connection.close();
    });
  });
}
