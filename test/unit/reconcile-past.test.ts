// When the past may go. A packet may carry a generation from hook to hook, so what only that generation needs is
// removed after two waits: one for those that read it before the commit, one for those that were told that it is whole.
import { expect, it } from "vitest";
import { policyTables } from "../../src/kinds/index.ts";
import { recover } from "../../src/reconcile/index.ts";
import { addressSet, policyOf } from "../fixtures/firewall-documents.ts";
import { MemoryDatapath } from "../fixtures/memory-datapath.ts";
import { applyDocuments } from "../fixtures/test-datapath.ts";

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
  expect(datapath.done).toEqual(["commit", "grace", "retire", "grace", "remove"]);
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
