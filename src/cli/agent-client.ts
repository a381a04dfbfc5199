// Whether an agent runs here, and how commands that need one say so.
import { PenstockError } from "../base/index.ts";
import { type AgentClient, findAgent } from "../server/index.ts";
import type { Context } from "./command.ts";
import { version } from "./places.ts";

/** The running agent; undefined if there is none. Warns if it is of another version. */
export async function askForAgent(context: Context): Promise<AgentClient | undefined> {
  const client = await findAgent(context.settings().socketPath);
  if (client !== undefined && client.version !== version) {
    context.output.warn(`The agent has version ${client.version ?? "unknown"}, this command ${version}`);
  }
  return client;
}

/** The running agent. Throws `no-agent`. */
export async function requireAgent(context: Context, instead: string): Promise<AgentClient> {
  const client = await askForAgent(context);
  if (client !== undefined) return client;
  const { socketPath } = context.settings();
  throw new PenstockError({
    code: "no-agent",
    disposition: "stalled",
    message: `Cannot ask the agent: none listens on ${socketPath}`,
    remedy: `Start it with penstock agent; ${instead}`,
    data: { path: socketPath },
  });
}
