// The InterfaceGroup kind: gives names to interfaces of the host. Which interfaces get a binding follows from the
// groups that other kinds' documents use; the compile stage writes it.
import { interfaceBindingCodec } from "../../abi/index.ts";
import { type EntryText, interfacesTable, type KindDefinition, type Names } from "../../compile/index.ts";

/** See schema/interface-group.schema.json and docs/kinds/interface-group.md. */
export const interfaceGroupKind: KindDefinition = {
  kind: "InterfaceGroup",
  tables: [interfacesTable],
  compile(context) {
    for (const { name, spec } of context.policy.byKind("InterfaceGroup")) {
      context.groups.define(name, spec.interfaces, spec.attach ?? "auto");
    }
  },
  describe(_table, key, payload, names) {
    return describeBinding(key, payload, names);
  },
};

function describeBinding(key: Uint8Array, payload: Uint8Array, names: Names): EntryText {
  const index = new DataView(key.buffer, key.byteOffset).getUint32(0, true);
  const { groups, steering } = interfaceBindingCodec.decode(payload);
  const members: string[] = [];
  for (let id = 0; id < 64; id++) {
    if ((groups >> BigInt(id)) & 1n) members.push(names.nameOf("interface-group", id) ?? `group ${id}`);
  }
  const name = names.interfaceName(index) ?? `with index ${index}`;
  const spread =
    steering === 0 ? "" : `, spread by ${names.nameOf("steering", steering) ?? `slot ${steering}`}`;
  return { subject: `interface ${name}`, detail: `in ${members.join(", ")}${spread}` };
}
