// The loop: what a poll does, how it backs off, and that it stops between two things and not in the middle of one.
import { beforeEach, expect, it } from "vitest";
import { PenstockError } from "../../src/base/index.ts";
import { idRangesFor } from "../../src/compile/index.ts";
import { kinds, policyTables } from "../../src/kinds/index.ts";
import { Loop, Reconciler } from "../../src/reconcile/index.ts";
import { firewall, policyOf } from "../fixtures/firewall-documents.ts";
import { MemoryDatapath } from "../fixtures/memory-datapath.ts";
import { MemoryAttempts, MemorySource } from "../fixtures/memory-ports.ts";

const unreachable = new PenstockError({
  code: "source-unreachable",
  disposition: "transient",
  message: "Cannot fetch",
});
const never = "0 0 0 1 1 *";

let source: MemorySource;
let datapath: MemoryDatapath;
let attempts: MemoryAttempts;
let nowMs: number;
let loop: Loop;

beforeEach(async () => {
  source = new MemorySource();
  datapath = new MemoryDatapath(policyTables, 256);
  datapath.hostInterfaces = [{ name: "eth0", index: 1 }];
  attempts = new MemoryAttempts();
  nowMs = 0;
  const clock = { now: () => nowMs, monotonicMs: () => nowMs };
  const log = { info() {}, warn() {}, error() {} };
  const reconciler = new Reconciler({
    source,
    datapath,
    attempts,
    clock,
    log,
    kinds,
    idRanges: idRangesFor(256),
    host: "test",
    labels: {},
    selfHeal: "enabled",
    version: "0",
    sourceUrl: "",
    ref: "main",
  });
  await reconciler.start();
  loop = new Loop({ reconciler, clock, log, poll: never, scan: never });
});

const outcomes = () => attempts.attempts.map((a) => a.outcome);

it("reconciles at the start, and at a poll only if the ref moved", async () => {
  source.push(policyOf(firewall("edge", [])));
  await loop.start();
  await loop.poll();
  expect(outcomes()).toEqual(["applied"]);
  source.push(policyOf(firewall("edge", [{ action: "drop" }])));
  await loop.poll();
  expect(outcomes()).toEqual(["applied", "applied"]);
  await loop.stop();
});

it("takes up an interface that appears at the next poll", async () => {
  source.push(policyOf(firewall("edge", [], { interfaces: ["eth1"] })));
  await loop.start();
  expect(datapath.attached()).toEqual([]);
  datapath.hostInterfaces = [...datapath.hostInterfaces, { name: "eth1", index: 2 }];
  await loop.poll();
  expect(datapath.attached().map((a) => a.index)).toEqual([2]);
  await loop.stop();
});

it("takes up an interface though the repository does not answer", async () => {
  source.push(policyOf(firewall("edge", [], { interfaces: ["eth1"] })));
  await loop.start();
  source.fault = unreachable;
  await loop.poll();
  datapath.hostInterfaces = [...datapath.hostInterfaces, { name: "eth1", index: 2 }];
  await loop.poll();
  expect(datapath.attached().map((a) => a.index)).toEqual([2]);
  await loop.stop();
});

it("waits longer after each transient error, and not at all after it is over", async () => {
  source.fault = unreachable;
  await loop.start();
  source.fault = undefined;
  source.push(policyOf(firewall("edge", [])));
  await loop.poll();
  expect(outcomes()).toEqual(["failed"]);
  nowMs = 1_001;
  source.fault = unreachable;
  await loop.poll();
  source.fault = undefined;
  nowMs = 2_500;
  await loop.poll();
  expect(outcomes()).toEqual(["failed"]);
  nowMs = 3_100;
  await loop.poll();
  expect(outcomes()).toEqual(["failed", "applied"]);
  source.push(policyOf(firewall("edge", [{ action: "drop" }])));
  await loop.poll();
  expect(outcomes()).toEqual(["failed", "applied", "applied"]);
  await loop.stop();
});

it("stops only after what is under way is done", async () => {
  source.push(policyOf(firewall("edge", [])));
  await loop.start();
  source.push(policyOf(firewall("edge", [{ action: "drop" }])));
  const under = loop.poll();
  await loop.stop();
  await under;
  expect(outcomes()).toEqual(["applied", "applied"]);
});
