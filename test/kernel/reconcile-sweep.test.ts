// The failure sweep over the real kernel, with programs attached to real interfaces: the adapter keeps the same
// contract as the model of test/unit/reconcile-sweep.test.ts.
import { afterAll, beforeAll, expect, it } from "vitest";
import type { KernelDatapath } from "../../src/bpf/index.ts";
import type { HostInterface } from "../../src/compile/index.ts";
import { addressSet, firewall, policyOf } from "../fixtures/firewall-documents.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeVethNamespace, type TestNamespace } from "../fixtures/network-namespace.ts";
import { openTestDatapath } from "../fixtures/test-datapath.ts";
import { sweepTransaction } from "../fixtures/transaction-sweep.ts";

const before = policyOf(
  addressSet("office", ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32"]),
  firewall(
    "edge",
    [
      { name: "office", match: { source: { sets: ["office"] } } },
      { name: "web", match: { protocol: "tcp", destinationPorts: [80, "8000-8999"] } },
      { name: "goes", action: "drop" },
    ],
    { interfaces: ["left"], default: "drop" },
  ),
);

const after = policyOf(
  addressSet("office", ["10.1.0.0/16", "10.2.0.0/16", "2001:db8:1::/48"]),
  addressSet("lab", ["192.0.2.0/24"]),
  firewall(
    "edge",
    [
      { name: "web", match: { protocol: "tcp", destinationPorts: [443, "8000-8999"] } },
      { name: "lab", match: { source: { sets: ["lab", "office"], not: true } }, action: "drop" },
      { name: "office", match: { source: { sets: ["office"] } } },
    ],
    { interfaces: ["left", "right"], default: "pass" },
  ),
);

describeKernel("a transaction on the kernel that fails at operation k, for every k", () => {
  const pins = makePinDirectory();
  let namespace: TestNamespace;
  let datapath: KernelDatapath;
  let interfaces: readonly HostInterface[];

  beforeAll(async () => {
    namespace = makeVethNamespace();
    datapath = await openTestDatapath(pins, { rulesMax: 64, addressesMax: 256 });
    interfaces = namespace.enter(() => datapath.interfaces());
  });
  afterAll(() => {
    datapath?.close();
  });

  it("shows packets the old policy or the new one, and leaves nothing behind", {
    timeout: 300_000,
  }, async () => {
    const points = await sweepTransaction(datapath, before, after, { interfaces });
    expect(points).toBeGreaterThan(30);
  });
});
