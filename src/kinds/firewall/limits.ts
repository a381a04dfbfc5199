// How many connections a rule lets through at a time -> fields of its records, and those fields in words.
import type { FwRule } from "../../abi/index.ts";
import { formatDuration, parseDuration } from "../../base/index.ts";
import type { CompileContext, Origin } from "../../compile/index.ts";
import type { FirewallRule } from "../../policy/index.ts";

/** 0 where the rule says nothing. */
export type LimitFields = Pick<FwRule, "sourceConnections" | "connections" | "blockS">;

const blockMax = 30 * 24 * 60 * 60;

/** Compiles a rule's limits; what is wrong with them is reported. */
export function compileLimits(
  context: CompileContext,
  { name, limits }: FirewallRule,
  at: Origin,
): LimitFields {
  const { connectionsPerSource = 0, connections = 0, block } = limits ?? {};
  const report = (code: string, message: string) =>
    context.report({ ...at, path: [...at.path, "limits", "block"] }, "error", code, message);
  if (block !== undefined && connectionsPerSource === 0) {
    const message = `a source is blocked for having too many connections, and "${name}" does not say how many those are; add connectionsPerSource, or leave block out`;
    report("block-needs-limit", message);
  }
  const blockS = block === undefined ? 0 : parseDuration(block);
  if (blockS > blockMax) report("block-too-long", `a block is at most ${formatDuration(blockMax)}`);
  return { sourceConnections: connectionsPerSource, connections, blockS };
}

/** `at most 20 connections of a source, 500 of all, more block the source for 10m`; empty without limits. */
export function limitWords({ sourceConnections, connections, blockS }: LimitFields): string {
  const words = [
    sourceConnections === 0 ? "" : `${sourceConnections} of a source`,
    connections === 0 ? "" : `${connections} of all`,
    blockS === 0 ? "" : `a source that wants more blocked for ${formatDuration(blockS)}`,
  ].filter((word) => word !== "");
  return words.length === 0 ? "" : `at most ${words.join(", ")}`;
}
