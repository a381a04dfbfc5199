// When the past may go. A packet may carry a generation from hook to hook, so what only that generation needs is
// removed after two waits: one for those that read it before the commit, one for those that were told that it is whole.
import { expect, it } from "vitest";
import { systemClock } from "../../src/base/index.ts";
import { policyTables } from "../../src/kinds/index.ts";
import { recover, runTransaction } from "../../src/reconcile/index.ts";
import { addressSet, policyOf } from "../fixtures/firewall-documents.ts";
import { MemoryDatapath } from "../fixtures/memory-datapath.ts";
import { applyDocuments, planDocuments } from "../fixtures/test-datapath.ts";

/** Notes what is done that programs depend on. */
class NotingDatapath extends MemoryDatapath {
  readonly done: string[] = [];

  override commit(target: bigint): void {
    this.#note("commit");
    super.commit(target);
  }

  override async grace(): Promise<void> {
    this.#note("grace");
  }

  override retire(): void {
    this.#note("retire");
  }

  override remove(...args: Parameters<MemoryDatapath["remove"]>): Promise<void> {
    this.#note("remove");
    return super.remove(...args);
  }

  override write(...args: Parameters<MemoryDatapath["write"]>): Promise<void> {
    if (this.generation().last > 1n) this.#note("write");
    return super.write(...args);
  }

  /** Several of a kind in a row are one. */
  #note(what: string): void {
    if (this.done.at(-1) !== what) this.done.push(what);
  }
}

const both = policyOf(addressSet("office", ["10.0.0.0/8", "192.0.2.0/24"]));
const one = policyOf(addressSet("office", ["10.0.0.0/8"]));

async function holdBoth(): Promise<NotingDatapath> {
  const datapath = new NotingDatapath(policyTables, 64);
  await applyDocuments(datapath, both, { interfaces: [] });
  datapath.done.length = 0;
  return datapath;
}

it("goes when nobody can be using it any more", async () => {
  const datapath = await holdBoth();
  await applyDocuments(datapath, one, { interfaces: [] });
  expect(datapath.done).toEqual(["write", "commit", "grace", "retire", "grace", "remove"]);
});

it("goes likewise after a crash", async () => {
  const datapath = await holdBoth();
  datapath.remove = async () => {
    throw new Error("killed");
  };
  await applyDocuments(datapath, one, { interfaces: [] });
  Reflect.deleteProperty(datapath, "remove");
  datapath.done.length = 0;
  await recover(datapath);
  expect(datapath.done).toEqual(["retire", "grace", "remove"]);
});

it("waits before a reverted generation is cleaned up, for those that carry it", async () => {
  const datapath = await holdBoth();
  const { plan } = await planDocuments(datapath, one, { interfaces: [] });
  const confirm = async () => {
    datapath.done.push("confirm");
    throw new Error("the host is not well");
  };
  const options = { clock: systemClock, confirm };
  await expect(runTransaction(datapath, plan.transaction, options)).rejects.toMatchObject({
    code: "reverted",
  });
  expect(datapath.done.slice(datapath.done.indexOf("commit"))).toEqual([
    ...["commit", "grace", "confirm"],
    ...["commit", "grace", "write"],
  ]);
});
