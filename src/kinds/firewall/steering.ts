// At which processors packets go on that pass: what a document says becomes one list for each of its interfaces, and
// a queue for each processor that a list names.
import { countOf, fwSteeringCodec, fwSteeringLayout } from "../../abi/index.ts";
import type { CompileContext, EntryText, HostInterface, Names, Origin } from "../../compile/index.ts";
import type { FirewallSteering, PolicyDocument } from "../../policy/index.ts";
import { processorTable, steeringTable } from "./tables.ts";

type Document = PolicyDocument<"Firewall">;

/** Packets that wait for one processor at most; the kernel takes up to 16,384. */
const queueLength = 2048;
const cpusMax = countOf(fwSteeringLayout, "cpus");

/** Enters the processors of each of the document's interfaces. */
export function compileSteering(context: CompileContext, document: Document): void {
  const { steering, interfaces } = document.spec;
  if (steering === undefined) return;
  const at: Origin = { document, path: ["spec", "steering", "cpus"] };
  const members = interfaces.flatMap((name) => context.groups.use(name).members);
  reportUnknownCpus(context, steering, { members, at });
  for (const member of new Map(members.map((each) => [each.index, each])).values()) {
    const cpus = cpusFor(steering, member);
    if (cpus.length === 0) continue;
    const slot = context.id("steering", `${document.name}/${member.name}`, at);
    const other = context.groups.steer(member.index, { slot, by: document.name });
    if (other === undefined) addList(context, { slot, cpus, at });
    else {
      const message = `packets of ${member.name} are spread as "${other}" says already; say it in one document only`;
      context.report({ document, path: ["spec", "steering"] }, "error", "steered-twice", message);
    }
  }
}

function cpusFor({ cpus }: FirewallSteering, { processors = [] }: HostInterface): number[] {
  const fits = ({ number, isNear }: (typeof processors)[number]) =>
    typeof cpus === "string" ? cpus === "all" || isNear : cpus.includes(number);
  return processors
    .filter(fits)
    .map(({ number }) => number)
    .slice(0, cpusMax);
}

function addList(
  context: CompileContext,
  { slot, cpus, at }: { readonly slot: number; readonly cpus: readonly number[]; readonly at: Origin },
): void {
  const origin = context.origin(at);
  const padded = [...cpus, ...Array<number>(cpusMax - cpus.length).fill(0)];
  const payload = fwSteeringCodec.encode({ count: cpus.length, cpus: padded });
  context.table(steeringTable).add(wordOf(slot), payload, origin);
  for (const cpu of cpus) {
    const isNew = context.numbered("processor", cpu, at);
    if (isNew) context.table(processorTable).add(wordOf(cpu), wordOf(queueLength), origin);
  }
}

/** A processor may be switched off for a time, so this is no error: the others have its packets. */
function reportUnknownCpus(
  context: CompileContext,
  { cpus }: FirewallSteering,
  { members, at }: { readonly members: readonly HostInterface[]; readonly at: Origin },
): void {
  const online = members[0]?.processors;
  if (typeof cpus === "string" || online === undefined) return;
  cpus.forEach((cpu, i) => {
    if (online.some(({ number }) => number === cpu)) return;
    const message = `this host has no processor ${cpu} that is online; it has ${online.map(({ number }) => number).join(", ")}`;
    context.report({ ...at, path: [...at.path, i] }, "warning", "unknown-cpu", message);
  });
}

/** An entry of one of the tables of steering; undefined if it is of another table. */
export function describeSteeringEntry(
  entry: { readonly table: string; readonly key: Uint8Array; readonly payload: Uint8Array },
  names: Names,
): EntryText | undefined {
  const number = numberOf(entry.key);
  if (entry.table === processorTable.name)
    return { subject: `processor ${number}`, detail: `a queue of ${numberOf(entry.payload)} packets` };
  if (entry.table !== steeringTable.name) return undefined;
  const { count, cpus } = fwSteeringCodec.decode(entry.payload);
  const name = names.nameOf("steering", number) ?? `in slot ${number}`;
  return { subject: `steering ${name}`, detail: `over processors ${cpus.slice(0, count).join(", ")}` };
}

function wordOf(number: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(number).buffer);
}

function numberOf(word: Uint8Array): number {
  return new DataView(word.buffer, word.byteOffset).getUint32(0, true);
}
