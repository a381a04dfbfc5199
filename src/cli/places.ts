// Where this program's own files are. src/cli and dist/cli both lie two levels below the root.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Where the compiled datapath is. */
export const objectDirectory = fileURLToPath(new URL("../../dist/objects", import.meta.url));

/** Penstock's version, from package.json. */
export const version = readVersion();

/** Names below the configured directories. */
export const lockName = "agent.lock";
export const socketName = "agent.sock";
export const eventsLockName = "events.lock";
export const auditName = "audit";

function readVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  const { version: found } = JSON.parse(text) as { readonly version?: string };
  return found ?? "unknown";
}
