// Programs that the firewall calls in XDP once the rules have let a packet through, and only then.
import { afterAll, beforeAll, expect, it } from "vitest";
import { type BpfObject, createTestRunner, type KernelDatapath, openObject } from "../../src/bpf/index.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { firewall, packets, policyOf } from "../fixtures/firewall-documents.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeVethNamespace } from "../fixtures/network-namespace.ts";
import { applyDocuments, openTestDatapath } from "../fixtures/test-datapath.ts";

const verdicts = ["aborted", "drop", "pass"];
/** The rate limiter's slot, as the map has it. */
const slot = Uint8Array.of(1, 0, 0, 0);

describeKernel("the chain behind the firewall", () => {
  let datapath: KernelDatapath;
  let chained: BpfObject;
  const namespace = makeVethNamespace();

  beforeAll(async () => {
    datapath = await openTestDatapath(makePinDirectory());
    const names = ["generation", "carry_scratch"];
    const sharedMaps = Object.fromEntries(names.map((name) => [name, datapath.object.map(name)]));
    chained = openObject(compileBpf("chained"), { sharedMaps });
  });

  afterAll(() => {
    chained?.close();
    datapath?.close();
  });

  for (const { program, map, callee } of [
    { program: "xdp_firewall", map: "xdp_chain", callee: "chained" },
    { program: "xdp_firewall_generic", map: "xdp_chain_generic", callee: "chained_generic" },
  ]) {
    it(`sees what ${program} lets through, at the packet's generation`, async () => {
      const interfaces = namespace.enter(() => datapath.interfaces());
      const ifindex = interfaces.find(({ name }) => name === "left")?.index ?? 0;
      const rules = [
        { name: "web", action: "pass", match: { protocol: "tcp" } },
        { name: "rest", action: "drop" },
      ] as const;
      const documents = policyOf(firewall("edge", rules, { interfaces: ["left"] }));
      await applyDocuments(datapath, documents, { interfaces });
      const notes = chained.map("notes").mmap();
      notes.bytes.fill(0);
      const run = (frame: Uint8Array) =>
        namespace.enter(() => {
          const runner = createTestRunner(datapath.object.program(program));
          return verdicts[runner.run(frame, { ifindex }).verdict];
        });
      expect([run(packets.web), run(packets.query)]).toEqual(["pass", "drop"]);
      expect(notes.words[0]).toBe(0n);
      const fd = new Uint8Array(Uint32Array.of(chained.program(callee).fd).buffer);
      datapath.object.map(map).update(slot, fd);
      expect([run(packets.web), run(packets.query)]).toEqual(["drop", "drop"]);
      expect([...notes.words.slice(0, 2)]).toEqual([1n, datapath.generation().current]);
      notes.close();
    });
  }
});
