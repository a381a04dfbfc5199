// What somebody does who writes the maps behind the agent's back: a rule gets another action, a prefix goes from a
// set, another one appears, and a program is taken from its interface.
import type { TableSpec } from "../src/compile/index.ts";
import type { Datapath } from "../src/reconcile/index.ts";

const drop = 2;

/** Departs from what was applied in each of these ways; returns what was done. */
export async function tamper(datapath: Datapath): Promise<string> {
  await flipFirstRule(datapath, tableOf(datapath, "fw_rules"));
  await movePrefix(datapath, tableOf(datapath, "address_set_v4"));
  const [attached] = datapath.attached();
  if (attached !== undefined) datapath.detach(attached.program, attached.index);
  return "tampered";
}

async function flipFirstRule(datapath: Datapath, rules: TableSpec): Promise<void> {
  const { keys, values } = await datapath.read(rules);
  const changed = values.slice(0, rules.valueSize);
  for (const side of [0, 1])
    changed[rules.sideOffset + side * rules.payloadSize + rules.presenceOffset] = drop;
  await datapath.write(rules, keys.slice(0, rules.keySize), changed);
}

/** Takes the first prefix away and puts its entry under an address that no policy names. */
async function movePrefix(datapath: Datapath, set: TableSpec): Promise<void> {
  const { keys, values } = await datapath.read(set);
  const key = keys.slice(0, set.keySize);
  const value = values.slice(0, set.valueSize);
  await datapath.remove(set, key);
  const moved = new Uint8Array(key);
  moved.set([203, 0, 113], set.keySize - 4);
  await datapath.write(set, moved, value);
}

function tableOf(datapath: Datapath, name: string): TableSpec {
  const found = datapath.tables.find((table) => table.name === name);
  if (found === undefined) throw new RangeError(`no table ${name}`);
  return found;
}
