// plan: what would change, and what has drifted, apart from each other. Changes nothing.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PenstockError, type Revision } from "../../base/index.ts";
import { isKernelError } from "../../bpf/index.ts";
import { agentPaths } from "../../server/index.ts";
import { askForAgent } from "../agent-client.ts";
import { lookAlone } from "../alone.ts";
import { type Context, defineCommand } from "../command.ts";
import type { Reader } from "../compose.ts";
import { folderRevision, openRepository } from "../compose-source.ts";
import { exitCode } from "../exit-codes.ts";
import { kernelBase, nameInForce, readHeld } from "../in-force.ts";
import { commandOption } from "../options.ts";
import { requireSource } from "../settings.ts";
import { parseCommit, UsageError } from "../usage.ts";
import { refusal } from "../views/outcome.ts";
import { type PlanBase, type PlanView, type RefusedView, renderPlan, viewPreview } from "../views/plan.ts";

interface PlanOptions {
  readonly detailedExitcode?: boolean;
  readonly dir?: string;
}

export const planCommand = defineCommand<PlanOptions>({
  name: "plan",
  summary: "Show what applying would change, and what has drifted",
  description:
    "Show what applying the newest revision (or an earlier one, or a folder) would change in the kernel, and apart " +
    "from that where the kernel has drifted. Changes nothing. Asks the agent if one runs and no other policy is named",
  arguments: [["[commit]", "an earlier revision, instead of the newest"]],
  options: [
    commandOption.dir("plan the policy of this folder instead of a revision"),
    commandOption.detailedExitCode(),
  ],
  flags: "source",
  examples: [
    ["penstock plan", "the newest revision of the configured ref, against this kernel"],
    ["penstock plan --ref my-branch", "a branch, before it is merged"],
    ["penstock plan --dir policies", "the working tree, before it is committed"],
    ["penstock plan --detailed-exitcode", "for scripts: are changes pending?"],
  ],
  exits: {
    0: "planned; with --detailed-exitcode: nothing to change",
    2: "with --detailed-exitcode: changes pending",
    3: "with --detailed-exitcode: drift, and no change",
  },
  async run(context, { words, options }) {
    const commit = words[0] === undefined ? undefined : parseCommit(words[0]);
    const view = await makePlanView(context, { commit, dir: options.dir });
    if (view.kind === "refused") throw refusal(view.revision, view.findings, "plan");
    context.output.findings(view.warnings);
    context.output.result(view, renderPlan);
    if (options.detailedExitcode !== true) return exitCode.done;
    return view.pending ? exitCode.changes : view.drift === null ? exitCode.done : exitCode.drift;
  },
});

interface Wanted {
  readonly commit: string | undefined;
  readonly dir: string | undefined;
}

async function makePlanView(context: Context, wanted: Wanted): Promise<PlanView | RefusedView> {
  const { repo, ref, path, label, nodeName } = context.flags;
  const isOther = [repo, ref, path, label, nodeName].some((flag) => flag !== undefined);
  if (wanted.dir !== undefined) {
    if (wanted.commit !== undefined || repo !== undefined || ref !== undefined || path !== undefined) {
      throw new UsageError(
        "Cannot plan both a folder and a revision",
        "Leave out --dir, or what names a revision",
      );
    }
    const revision = folderRevision(wanted.dir);
    return planAlone(context, { fetch: async () => revision });
  }
  if (!isOther) {
    const agent = await askForAgent(context);
    if (agent !== undefined) {
      return agent.ask({ method: "GET", path: agentPaths.plan, query: { commit: wanted.commit } });
    }
  }
  return planRepository(context, wanted.commit);
}

/**
 * Plans a revision of the repository. Its objects go into a directory of their own: the agent's copy belongs to the
 * agent, and remembers what the agent has seen.
 */
async function planRepository(context: Context, commit: string | undefined): Promise<PlanView | RefusedView> {
  const { log, terminal } = context;
  const configured = requireSource(context.settings());
  const directory = mkdtempSync(join(tmpdir(), "penstock-plan-"));
  try {
    const source = openRepository(configured, directory, { log, env: terminal.env });
    const fetch = async (): Promise<Revision> => {
      const newest = await source.fetch();
      return commit === undefined ? newest : source.revision(commit);
    };
    try {
      return await planAlone(context, { fetch });
    } finally {
      await source.close();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function planAlone(
  context: Context,
  planned: { fetch(): Promise<Revision> },
): Promise<PlanView | RefusedView> {
  const plan = async (reader: Reader, reason: string): Promise<PlanView | RefusedView> => {
    const { reconciler, datapath } = reader;
    const base: PlanBase =
      datapath === undefined ? { kind: "empty", reason } : kernelBase(reconciler, datapath);
    const held = datapath === undefined ? undefined : await readHeld(datapath);
    return viewPreview(await reconciler.preview(), { base, inForce: nameInForce(reconciler) ?? "", held });
  };
  try {
    return await lookAlone(context, (reader) => plan(reader, "nothing is installed here"), { planned });
  } catch (error) {
    if (!isForbidden(error)) throw error;
    const reason = "this kernel's state can only be read as root";
    return lookAlone(context, (reader) => plan(reader, reason), { planned, useKernel: false });
  }
}

/** True if the kernel's state is there, perhaps, and may not be read. */
function isForbidden(error: unknown): boolean {
  if (isKernelError(error, "EPERM") || isKernelError(error, "EACCES")) return true;
  return error instanceof PenstockError && error.code === "libbpf-missing";
}
