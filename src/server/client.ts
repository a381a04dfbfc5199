// The other end of the agent's socket, for commands: asks one thing a connection, and turns the agent's errors
// back into exceptions.
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { createInterface } from "node:readline";
import { PenstockError } from "../base/index.ts";
import { readJson } from "./body.ts";
import { readError } from "./errors.ts";
import { type AgentPath, agentPaths, versionHeader } from "./routes.ts";
import { checkSocketPath, isSocketPath } from "./socket-file.ts";

/** The largest answer is a plan with 200 changes, each of a few hundred bytes. */
const answerBytesMax = 16 * 1024 * 1024;

/** What asks the Git server waits as long as the agent may; what reads the kernel is done in seconds. */
const patientMs = 3_600_000;
const shortMs = 60_000;

const waitMs: Readonly<Record<AgentPath, number>> = {
  [agentPaths.status]: shortMs,
  [agentPaths.history]: shortMs,
  [agentPaths.counters]: shortMs,
  [agentPaths.explain]: shortMs,
  [agentPaths.events]: shortMs,
  [agentPaths.drift]: patientMs,
  [agentPaths.plan]: patientMs,
  [agentPaths.reconcile]: patientMs,
  [agentPaths.rollback]: patientMs,
};

interface AgentRequest {
  readonly method: "GET" | "POST";
  readonly path: AgentPath;
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly body?: object;
  readonly signal?: AbortSignal;
}

/** An agent that answered when it was asked for its status. */
export class AgentClient {
  readonly socketPath: string;
  /** The agent's version, as of the last answer. */
  version: string | undefined;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  /** Asks for a path's answer. Throws what the agent threw, or `agent-unreachable`. */
  async ask<T>(request: AgentRequest): Promise<T> {
    const response = await this.#send(request);
    const body = await readJson(response, answerBytesMax).catch((cause: unknown) => {
      throw unreachable(this.socketPath, "it broke off its answer", cause);
    });
    if (response.statusCode === 200) return body as T;
    throw readError(body) ?? unreachable(this.socketPath, `it answered ${response.statusCode}`);
  }

  /** Events, one by one; ends with the stream, or when `signal` says so. */
  async *events<T>(how: {
    readonly limit: number;
    readonly follow: boolean;
    readonly signal: AbortSignal;
  }): AsyncGenerator<T> {
    const query = { limit: String(how.limit), follow: how.follow ? "1" : undefined };
    try {
      const response = await this.#send({
        method: "GET",
        path: agentPaths.events,
        query,
        signal: how.signal,
      });
      if (response.statusCode !== 200) {
        const body = await readJson(response, answerBytesMax);
        throw readError(body) ?? unreachable(this.socketPath, `it answered ${response.statusCode}`);
      }
      for await (const line of createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY })) {
        yield JSON.parse(line) as T;
      }
    } catch (thrown) {
      if (how.signal.aborted) return;
      throw thrown instanceof PenstockError
        ? thrown
        : unreachable(this.socketPath, "it broke off its answer", thrown);
    }
  }

  async #send({ method, path, query = {}, body, signal }: AgentRequest): Promise<IncomingMessage> {
    checkSocketPath(this.socketPath);
    const given = Object.entries(query).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, value]],
    );
    const search = new URLSearchParams(given as [string, string][]).toString();
    const text = body === undefined ? undefined : JSON.stringify(body);
    const request = httpRequest({
      socketPath: this.socketPath,
      // One connection a request: an agent that stops must not wait for idle ones.
      agent: false,
      method,
      path: search === "" ? path : `${path}?${search}`,
      headers: text === undefined ? {} : { "content-length": Buffer.byteLength(text) },
      ...(signal === undefined ? {} : { signal }),
    });
    const timeoutMs = waitMs[path];
    request.setTimeout(timeoutMs, () => {
      request.destroy(unreachable(this.socketPath, `it gave no answer within ${timeoutMs / 1000} s`));
    });
    request.end(text);
    const response = await answerOf(request, this.socketPath);
    if (path === agentPaths.events) request.setTimeout(0);
    const version = response.headers[versionHeader];
    if (typeof version === "string") this.version = version;
    return response;
  }
}

/** The agent behind a socket, or undefined if none runs there. Throws if one may be there but cannot be asked. */
export async function findAgent(socketPath: string): Promise<AgentClient | undefined> {
  // No agent can listen under a name that the kernel does not take.
  if (!isSocketPath(socketPath)) return undefined;
  const client = new AgentClient(socketPath);
  const request = httpRequest({ socketPath, agent: false, method: "HEAD", path: "/" });
  request.end();
  try {
    const response = await answerOf(request, socketPath);
    response.resume();
    const version = response.headers[versionHeader];
    if (typeof version === "string") client.version = version;
    return client;
  } catch (thrown) {
    if (thrown instanceof PenstockError && thrown.data["absent"] === true) return undefined;
    throw thrown;
  }
}

function answerOf(request: ClientRequest, socketPath: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.once("response", resolve);
    request.once("error", (cause: NodeJS.ErrnoException) => {
      if (cause instanceof PenstockError) reject(cause);
      else reject(unreachable(socketPath, describeFailure(cause), cause));
    });
  });
}

/** No file, or a file that nobody listens on: no agent runs. */
const absentCodes: readonly (string | undefined)[] = ["ENOENT", "ECONNREFUSED", "ENOTDIR"];

function describeFailure(cause: NodeJS.ErrnoException): string {
  if (absentCodes.includes(cause.code)) return "no agent listens there";
  if (cause.code === "EACCES" || cause.code === "EPERM") return "permission denied";
  return cause.code ?? cause.message;
}

function unreachable(socketPath: string, state: string, cause?: unknown): PenstockError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : undefined;
  const denied = state === "permission denied";
  return new PenstockError({
    code: "agent-unreachable",
    disposition: "transient",
    message: `Cannot reach the agent at ${socketPath}: ${state}`,
    remedy: denied
      ? "Run the command as the user that the agent runs as (root, as a rule)"
      : "Check that the agent runs, and that both use the same run directory",
    data: { path: socketPath, absent: absentCodes.includes(code) },
    cause,
  });
}
