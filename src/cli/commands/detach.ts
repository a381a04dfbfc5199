// detach: takes everything out of the kernel. The one command that opens the datapath, so it says so first.
import { existsSync } from "node:fs";
import { openAuditLog } from "../../audit/index.ts";
import { systemClock } from "../../base/index.ts";
import { acquireLock, listPins, uninstallDatapath } from "../../bpf/index.ts";
import { type Context, defineCommand } from "../command.ts";
import { attemptLog, auditDirectory } from "../compose-audit.ts";
import { openInstalledDatapath } from "../compose-datapath.ts";
import { exitCode } from "../exit-codes.ts";
import { commandOption } from "../options.ts";
import { version } from "../places.ts";
import type { Settings } from "../settings.ts";
import { plain } from "../text.ts";
import { UsageError } from "../usage.ts";

interface DetachView {
  readonly detached: readonly string[];
  readonly unpinned: number;
}

export const detachCommand = defineCommand<{ readonly yes?: boolean }>({
  name: "detach",
  summary: "Take all programs and tables out of the kernel",
  description:
    "Take all programs off their interfaces and remove all tables from the kernel. From then on packets pass " +
    "unjudged, and counters are gone. The repository's copy and the audit log stay. No agent may run",
  options: [commandOption.yes()],
  flags: "places",
  examples: [
    ["penstock detach", "asks first"],
    ["penstock detach --yes", "for scripts"],
  ],
  exits: { 1: "failed, or not wanted after all" },
  async run(context, { options }) {
    const settings = context.settings();
    const lock = acquireLock(settings.lockPath);
    try {
      if (listPins(settings.pinDirectory).length === 0 && !existsSync(settings.pinDirectory)) {
        context.output.result<DetachView>({ detached: [], unpinned: 0 }, () => [
          `Nothing is installed in ${plain(settings.pinDirectory)}.`,
        ]);
        return exitCode.done;
      }
      if (options.yes !== true && !(await isWanted(context, settings))) return exitCode.failed;
      context.output.result(await detach(settings), renderDetached);
      return exitCode.done;
    } finally {
      lock.release();
    }
  },
});

async function isWanted({ terminal, output }: Context, settings: Settings): Promise<boolean> {
  output.warn(
    `This takes every program and table of ${settings.pinDirectory} out of the kernel; packets then pass unjudged`,
  );
  if (!terminal.canAsk) {
    throw new UsageError("Cannot ask whether to detach: this is not a terminal", "Say so with --yes");
  }
  const answer = await terminal.ask("Detach? Type yes to go on: ");
  if (answer.trim() === "yes") return true;
  output.note("Nothing was changed");
  return false;
}

/** The record can be written even on a full disk, and is, before the command says that it is done. */
async function detach(settings: Settings): Promise<DetachView> {
  const audit = await openAuditLog({ directory: auditDirectory(settings), clock: systemClock });
  try {
    const attempts = attemptLog(audit);
    await attempts.reserve();
    const generation = readGeneration(settings);
    const { detached, unpinned } = uninstallDatapath(settings.pinDirectory);
    const names = detached.map((a) => `${a.program} from ${a.interface ?? `interface ${a.index}`}`);
    const what = names.length === 0 ? "No program was attached" : `Detached ${names.join(", ")}`;
    await attempts.append({
      outcome: "detached",
      reason: "Requested",
      message: `${what}; ${unpinned} pins removed, packets pass unjudged`,
      revision: null,
      generation,
      plan: null,
      digests: null,
      timingsMs: {},
      host: settings.host,
      agentVersion: version,
      trigger: "command",
    });
    return { detached: names, unpinned };
  } finally {
    await audit.close();
  }
}

/** The generation that packets saw last; null if the pins cannot be read, which must not keep them in place. */
function readGeneration(settings: Settings): { readonly before: number; readonly after: number } | null {
  try {
    const datapath = openInstalledDatapath(settings);
    const current = Number(datapath?.generation().current ?? 0n);
    datapath?.close();
    return { before: current, after: current };
  } catch {
    return null;
  }
}

function renderDetached(view: DetachView): string[] {
  const lines = view.detached.map((text) => `Detached ${plain(text)}`);
  return [...lines, `Removed ${view.unpinned} pins. Packets pass unjudged from now on.`];
}
