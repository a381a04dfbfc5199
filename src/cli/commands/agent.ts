// agent: follows the repository and keeps the kernel at what it says, until it is told to stop.
import { formatRevision, PenstockError, systemClock } from "../../base/index.ts";
import { returnLargeBuffers } from "../../bpf/index.ts";
import { Loop, type Outcome } from "../../reconcile/index.ts";
import { type AgentServer, startAgentServer } from "../../server/index.ts";
import { agentControl } from "../agent-control.ts";
import { AgentEvents } from "../agent-events.ts";
import { agentLog } from "../agent-log.ts";
import { type Context, defineCommand } from "../command.ts";
import { openParts, type Parts } from "../compose.ts";
import { exitCode } from "../exit-codes.ts";
import { untilInterrupted } from "../interrupt.ts";
import { version } from "../places.ts";
import { plain } from "../text.ts";

/** The one line on stdout: the agent has tried the newest revision once, and can be asked. */
interface ReadyView {
  readonly type: "ready";
  readonly pid: number;
  readonly socket: string;
  /** The revision in force, by its name; null if there is none. */
  readonly applied: string | null;
  readonly generation: number;
  /** What came of the first attempt. */
  readonly outcome: Outcome["kind"];
  readonly error: string | null;
}

export const agentCommand = defineCommand({
  name: "agent",
  summary: "Follow the repository and keep the kernel at what it says",
  description:
    "Follow the repository, apply each new revision in one atomic step, and put drift right. Prints one line on " +
    "stdout when it is ready; its log goes to stderr. SIGTERM and SIGINT end it after what is under way, SIGHUP " +
    "makes it reconcile now. What is applied stays in force without the agent",
  flags: "source",
  examples: [
    ["penstock agent", "with /etc/penstock/agent.yaml"],
    ["penstock agent --config agent.yaml", "with another configuration"],
    ["penstock agent --repo /srv/policy.git --run-dir /tmp/run --state-dir /tmp/state", "to try it out"],
  ],
  exits: { 0: "stopped by a signal", 1: "could not start" },
  async run(context) {
    const settings = context.settings();
    const log = agentLog(settings, context.terminal);
    const interrupt = untilInterrupted();
    returnLargeBuffers();
    try {
      const parts = await openParts({ settings, log, env: context.terminal.env, signal: interrupt.signal });
      await runAgent(context, { parts, log, signal: interrupt.signal });
    } finally {
      interrupt.end();
    }
    return exitCode.done;
  },
});

interface Running {
  readonly parts: Parts;
  readonly log: ReturnType<typeof agentLog>;
  readonly signal: AbortSignal;
}

async function runAgent(context: Context, { parts, log, signal }: Running): Promise<void> {
  const { reconciler, settings, datapath } = parts;
  const { poll, scan } = settings.schedule;
  const loop = new Loop({ reconciler, clock: systemClock, log, poll, scan });
  const events = new AgentEvents({ datapath, runDirectory: settings.runDirectory, log });
  const hangUp = () => void reconcileNow(parts, log);
  let server: AgentServer | undefined;
  try {
    log.info(
      { version, pid: process.pid, source: settings.source?.url, ref: settings.source?.ref },
      "Starting",
    );
    await reconciler.start();
    events.start();
    const agent = {
      pid: process.pid,
      version,
      socket: settings.socketPath,
      startedAt: new Date().toISOString(),
    };
    const control = agentControl({ settings, datapath, reconciler, agent, events: () => events.reader });
    server = await startAgentServer({ socketPath: settings.socketPath, control, log, version });
    process.on("SIGHUP", hangUp);
    const first = await loop.start();
    if (!signal.aborted) {
      announce(context, parts, first);
      log.info({ socket: settings.socketPath, outcome: first.kind }, "Ready");
    }
    await untilAborted(signal);
    log.info({}, "Stopping after what is under way");
  } finally {
    process.off("SIGHUP", hangUp);
    await loop.stop();
    await server?.close();
    await events.stop();
    await parts.close();
    log.info({}, "Stopped; what is applied stays in force");
  }
}

function announce({ output }: Context, { settings, reconciler, datapath }: Parts, first: Outcome): void {
  const known = reconciler.inForce();
  const view: ReadyView = {
    type: "ready",
    pid: process.pid,
    socket: settings.socketPath,
    applied: known === undefined ? null : formatRevision(known.revision),
    generation: Number(datapath.generation().current),
    outcome: first.kind,
    error: first.kind === "failed" ? first.error.message : null,
  };
  output.item(view, ({ applied, socket, generation, error }) => {
    const force = applied === null ? "nothing is in force" : `${plain(applied)} is in force`;
    const trouble = error === null ? "" : ` (${plain(error)})`;
    return [`Ready: ${force} at generation ${generation}, listening on ${plain(socket)}${trouble}`];
  });
}

async function reconcileNow({ reconciler }: Parts, log: Running["log"]): Promise<void> {
  try {
    await reconciler.reconcile("command");
  } catch (thrown) {
    const code = thrown instanceof PenstockError ? thrown.code : "unexpected";
    log.error({ code }, `Cannot reconcile: ${String(thrown)}`);
  }
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
