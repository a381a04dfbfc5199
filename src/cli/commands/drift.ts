// drift: does the kernel still hold what was applied? Reads everything, changes nothing.
import { acquireLock } from "../../bpf/index.ts";
import { agentPaths } from "../../server/index.ts";
import { askForAgent } from "../agent-client.ts";
import { lookAlone } from "../alone.ts";
import { type Context, defineCommand } from "../command.ts";
import { requireInstalledDatapath } from "../compose-datapath.ts";
import { exitCode } from "../exit-codes.ts";
import { requireInForce } from "../in-force.ts";
import { type DriftView, renderDrift, viewDrift } from "../views/drift.ts";

export const driftCommand = defineCommand({
  name: "drift",
  summary: "See whether the kernel still holds what was applied",
  description: "Compare all of the kernel's tables and programs with the revision in force; changes nothing",
  flags: "source",
  examples: [
    ["penstock drift", "for people"],
    ["penstock drift -o json || alert", "for scripts: the exit code tells"],
  ],
  exits: { 0: "no drift", 3: "drift" },
  async run(context) {
    const agent = await askForAgent(context);
    const view: DriftView =
      agent === undefined
        ? await findDriftAlone(context)
        : await agent.ask({ method: "GET", path: agentPaths.drift });
    context.output.result(view, renderDrift);
    return view.drift ? exitCode.drift : exitCode.done;
  },
});

/** Under the lock: what another command is about to commit would look like drift. */
async function findDriftAlone(context: Context): Promise<DriftView> {
  const settings = context.settings();
  requireInstalledDatapath(settings).close();
  const lock = acquireLock(settings.lockPath);
  try {
    return await lookAlone(context, async ({ reconciler }) => {
      const { name } = requireInForce(reconciler);
      return viewDrift(name, await reconciler.drift());
    });
  } finally {
    lock.release();
  }
}
