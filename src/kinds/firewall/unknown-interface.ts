// The finding for a name of an interface or a group that nobody knows.
import type { CompileContext, Origin } from "../../compile/index.ts";
import { suggestWord } from "../../policy/index.ts";

/** An interface may appear later, so this is no error; but a group's name may also be mistyped. */
export function reportUnknownInterface(context: CompileContext, name: string, at: Origin): void {
  const closest = suggestWord(
    name,
    context.policy.byKind("InterfaceGroup").map((group) => group.name),
  );
  if (closest === undefined && !context.groups.knowsHost) return;
  const where = context.groups.knowsHost ? " and no interface of that name on this host" : "";
  const hint =
    closest === undefined ? "an interface is taken up when it appears" : `did you mean "${closest}"?`;
  const message = `there is no InterfaceGroup "${name}"${where}; ${hint}`;
  context.report(at, "warning", "unknown-interface", message);
}
