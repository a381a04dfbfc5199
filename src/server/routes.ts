// The paths of the agent's socket, each with its method. Nothing is served that is not in this table.
import type { AgentControl, Answer } from "./control.ts";
import { isRecord, RequestError } from "./errors.ts";

export const agentPaths = {
  status: "/v1/status",
  history: "/v1/history",
  plan: "/v1/plan",
  drift: "/v1/drift",
  counters: "/v1/counters",
  explain: "/v1/explain",
  reconcile: "/v1/reconcile",
  rollback: "/v1/rollback",
  events: "/v1/events",
} as const;

export type AgentPath = (typeof agentPaths)[keyof typeof agentPaths];

/** The header of every answer that carries the agent's version. */
export const versionHeader = "penstock-version";

/** What a route gets of a request. */
export interface RouteInput {
  readonly control: AgentControl;
  readonly query: URLSearchParams;
  /** The parsed body; undefined without one. */
  readonly body: unknown;
}

export interface Route {
  readonly method: "GET" | "POST";
  /** Absent for the stream of events, which is not one answer. */
  readonly answer?: (input: RouteInput) => Promise<Answer>;
  /** Whether it may change what the kernel holds: worth a line in the log. */
  readonly changes: boolean;
}

/** No answer holds more records or events than this. */
const limitMost = 1000;

export const routes: Readonly<Record<AgentPath, Route>> = {
  "/v1/status": read(({ control }) => control.status()),
  "/v1/history": read(({ control, query }) => control.history(limitOf(query, 20))),
  "/v1/plan": read(({ control, query }) => control.plan(checkCommit(query.get("commit") ?? undefined))),
  "/v1/drift": read(({ control }) => control.drift()),
  "/v1/counters": read(({ control }) => control.counters()),
  "/v1/explain": { method: "POST", changes: false, answer: ({ control, body }) => control.explain(body) },
  "/v1/reconcile": { method: "POST", changes: true, answer: ({ control }) => control.reconcile() },
  "/v1/rollback": {
    method: "POST",
    changes: true,
    answer: ({ control, body }) => control.rollback(commitOf(body)),
  },
  "/v1/events": { method: "GET", changes: false },
};

/** The route of a path; undefined if there is none. */
export function findRoute(path: string): Route | undefined {
  return Object.hasOwn(routes, path) ? routes[path as AgentPath] : undefined;
}

/** The `limit` of a query, or `fallback`; refuses what is no number from 0 to 1000. */
export function limitOf(query: URLSearchParams, fallback: number): number {
  const text = query.get("limit");
  if (text === null) return fallback;
  const limit = /^[0-9]{1,4}$/.test(text) ? Number(text) : Number.NaN;
  if (limit <= limitMost) return limit;
  throw new RequestError(400, "bad-request", `Cannot answer: limit must be a number from 0 to ${limitMost}`);
}

function read(answer: (input: RouteInput) => Promise<Answer>): Route {
  return { method: "GET", changes: false, answer };
}

function commitOf(body: unknown): string | undefined {
  if (body === undefined) return undefined;
  if (!isRecord(body))
    throw new RequestError(400, "bad-request", "Cannot answer: the body must be an object");
  return checkCommit(body["commit"] ?? undefined);
}

function checkCommit(commit: unknown): string | undefined {
  if (commit === undefined) return undefined;
  if (typeof commit === "string" && /^[0-9a-f]{4,40}$/.test(commit)) return commit;
  throw new RequestError(400, "bad-request", "Cannot answer: a commit is 4 to 40 lower-case hex digits");
}
