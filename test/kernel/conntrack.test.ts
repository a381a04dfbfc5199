// Connection tracking in the kernel: what TCP, UDP and ICMP make of the table, step by step.
import { afterEach, describe, expect, it } from "vitest";
import { ConntrackLab } from "../fixtures/conntrack-lab.ts";
import { frameOf } from "../fixtures/conntrack-packets.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";

describeKernel("smoke", () => {
  it("tracks", async () => {
    const lab = new ConntrackLab();
    const base = { kind: "packet", source: { address: "198.51.100.7", port: 40000 }, destination: { address: "192.0.2.1", port: 80 }, protocol: 6 } as const;
    const f = frameOf({ ...base, tcp: { syn: true, ack: false, fin: false, rst: false, sequence: 1000, acknowledgement: 0, window: 1000, length: 0, scale: 7 } });
    console.log(lab.look(f));
    lab.track(f, "ingress");
    console.log(await lab.entries());
    console.log(lab.look(f));
    const g = frameOf({ ...base, source: base.destination, destination: base.source, tcp: { syn: true, ack: true, fin: false, rst: false, sequence: 5000, acknowledgement: 1001, window: 1000, length: 0, scale: 7 } });
    console.log(lab.look(g));
    lab.track(g, "egress");
    console.log(await lab.entries());
    await lab.clear();
    console.log(await lab.entries());
    lab.close();
  });
});
