// Every match of a rule in the kernel, by known answers: what the differential test meets by chance, met for sure.
import { afterAll, beforeAll, expect, it } from "vitest";
import { createTestRunner, type KernelDatapath, type TestRunner } from "../../src/bpf/index.ts";
import type { Firewall, InterfaceGroup } from "../../src/policy/index.ts";
import { firewall, interfaceGroup, packets, policyOf } from "../fixtures/firewall-documents.ts";
import { knownMatches } from "../fixtures/firewall-known-matches.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeVethNamespace, type TestNamespace } from "../fixtures/network-namespace.ts";
import { applyDocuments, openTestDatapath } from "../fixtures/test-datapath.ts";

const xdpDrop = 1;
const xdpPass = 2;

describeKernel("a rule in the kernel", () => {
  const pins = makePinDirectory();
  let namespace: TestNamespace;
  let datapath: KernelDatapath;
  let runner: TestRunner;

  beforeAll(async () => {
    namespace = makeVethNamespace();
    datapath = await openTestDatapath(pins);
    runner = createTestRunner(datapath.object.program("xdp_firewall"));
  });
  afterAll(() => {
    datapath?.close();
  });

  const apply = (...documents: (Firewall | InterfaceGroup)[]) =>
    applyDocuments(datapath, policyOf(...documents), {
      interfaces: namespace.enter(() => datapath.interfaces()),
    });
  const judge = (frames: readonly Uint8Array[], name = "left") =>
    namespace.enter(() => {
      const ifindex = datapath.interfaces().find((i) => i.name === name)?.index ?? 0;
      return frames.map((frame) => runner.run(frame, { ifindex }).verdict);
    });

  it.each(knownMatches)("fits what it must: $match", async ({ match, fits, others }) => {
    await apply(firewall("a", [{ action: "drop", match }], { interfaces: ["left"] }));
    expect(judge(fits)).toEqual(fits.map(() => xdpDrop));
    expect(judge(others)).toEqual(others.map(() => xdpPass));
  });

  it("tells 64 groups apart", async () => {
    const groups = Array.from({ length: 64 }, (_, i) =>
      interfaceGroup(`g${i}`, [i === 0 ? "*" : i === 63 ? "right" : `eth${i}`]),
    );
    const rules = groups
      .slice(1)
      .map(({ metadata }) => ({ action: "drop" as const, match: { interfaces: [metadata.name] } }));
    // Ids of the generation before are free again only after the next commit.
    await apply();
    await apply(...groups, firewall("a", rules, { interfaces: ["g0"] }));
    expect(judge([packets.web], "left")).toEqual([xdpPass]);
    expect(judge([packets.web], "right")).toEqual([xdpDrop]);
  });
});
