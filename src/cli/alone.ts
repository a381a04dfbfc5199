// Work without an agent: opens what a command needs, and closes it whatever happens.
import type { RevisionSource } from "../reconcile/index.ts";
import type { Context } from "./command.ts";
import { openParts, openReader, type Parts, type Reader } from "./compose.ts";
import { emptyDatapath } from "./compose-datapath.ts";

/** Changes the kernel, under the agent's lock. Repairs first what a crash may have left. */
export async function workAlone<T>(context: Context, work: (parts: Parts) => Promise<T>): Promise<T> {
  const { log, terminal } = context;
  const parts = await openParts({ settings: context.settings(), log, env: terminal.env });
  try {
    await parts.reconciler.start();
    return await work(parts);
  } finally {
    await parts.close();
  }
}

/** Looks at the kernel and the audit log, and changes nothing. */
export async function lookAlone<T>(
  context: Context,
  work: (reader: Reader) => Promise<T>,
  options: { readonly planned?: Pick<RevisionSource, "fetch">; readonly useKernel?: boolean } = {},
): Promise<T> {
  const { log, terminal } = context;
  const settings = context.settings();
  const reader = await openReader({
    settings,
    log,
    env: terminal.env,
    instead: emptyDatapath(settings),
    ...options,
  });
  try {
    return await work(reader);
  } finally {
    await reader.close();
  }
}
