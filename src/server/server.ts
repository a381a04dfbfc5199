// The agent's socket: HTTP/1.1 with JSON over a unix socket that only its owner may open. Serves the table in
// routes.ts and nothing else, in bounded memory and time.
import { chmodSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { readJson, requestBytesMax } from "./body.ts";
import type { AgentControl, RequestLog } from "./control.ts";
import { answerError, RequestError } from "./errors.ts";
import { streamEvents } from "./event-stream.ts";
import { findRoute, limitOf, type Route, versionHeader } from "./routes.ts";
import { checkSocketPath, removeStaleSocket, socketUnusable } from "./socket-file.ts";

export interface AgentServerOptions {
  readonly socketPath: string;
  readonly control: AgentControl;
  readonly log: RequestLog;
  /** Sent with every answer, so that a client of another version can tell. */
  readonly version: string;
}

const connectionsMax = 64;

/** Listens until `close`. */
export class AgentServer {
  readonly socketPath: string;
  readonly #options: AgentServerOptions;
  readonly #server: Server;
  readonly #closing = new AbortController();

  /** Not listening yet: `startAgentServer` does that. */
  constructor(options: AgentServerOptions) {
    this.socketPath = options.socketPath;
    this.#options = options;
    this.#server = createServer({
      maxHeaderSize: 8 * 1024,
      headersTimeout: 5_000,
      requestTimeout: 10_000,
      keepAlive: false,
    });
    this.#server.maxConnections = connectionsMax;
    this.#server.on("request", (request: IncomingMessage, response: ServerResponse) => {
      response.on("error", () => response.destroy());
      this.#serve(request, response).catch((thrown: unknown) => this.#refuse(response, thrown));
    });
  }

  /** Takes the socket's name and listens. Throws `socket-unusable`. */
  async listen(): Promise<void> {
    const { socketPath } = this;
    checkSocketPath(socketPath);
    removeStaleSocket(socketPath);
    const listening = new Promise<void>((resolve, reject) => {
      this.#server.once("error", (cause: NodeJS.ErrnoException) => {
        const remedy = "Check that the run directory exists and is writable";
        reject(socketUnusable(socketPath, cause.code ?? cause.message, { remedy, cause }));
      });
      this.#server.once("listening", resolve);
    });
    // The file is made within listen(): for that moment, nobody but the owner gets any right to it.
    const mask = process.umask(0o177);
    try {
      this.#server.listen(socketPath);
    } finally {
      process.umask(mask);
    }
    await listening;
    chmodSync(socketPath, 0o600);
    // From here on an error is a connection that could not be taken, which is no reason to end the agent.
    this.#server.on("error", (cause) => {
      this.#options.log.warn({ error: cause.message }, "A connection to the socket failed");
    });
  }

  /** Ends event streams, lets the requests under way finish, and removes the socket. */
  async close(): Promise<void> {
    this.#closing.abort();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader(versionHeader, this.#options.version);
    response.setHeader("connection", "close");
    const url = new URL(request.url ?? "/", "http://agent");
    const route = findRoute(url.pathname);
    if (route === undefined) {
      throw new RequestError(404, "unknown-path", "Cannot answer: the agent has no such path");
    }
    if (request.method !== route.method) {
      response.setHeader("allow", route.method);
      throw new RequestError(405, "wrong-method", `Cannot answer: this path takes ${route.method} alone`);
    }
    const body = await readJson(request, requestBytesMax);
    this.#tell(url.pathname, route);
    const { control } = this.#options;
    const query = url.searchParams;
    if (route.answer === undefined) {
      const follow = query.get("follow") === "1";
      await streamEvents(control, response, {
        limit: limitOf(query, 1000),
        follow,
        signal: this.#closing.signal,
      });
      return;
    }
    sendJson(response, 200, await route.answer({ control, query, body }));
  }

  #tell(path: string, route: Route): void {
    const { log } = this.#options;
    if (route.changes) log.info({ path }, "Asked over the socket");
    else log.debug({ path }, "Asked over the socket");
  }

  #refuse(response: ServerResponse, thrown: unknown): void {
    const { status, body } = answerError(thrown);
    if (status >= 500) this.#options.log.warn({ code: body.error.code }, body.error.message);
    if (response.headersSent) response.destroy();
    else sendJson(response, status, body);
  }
}

/** Starts to listen. Throws `socket-unusable`. The caller holds the agent's lock. */
export async function startAgentServer(options: AgentServerOptions): Promise<AgentServer> {
  const server = new AgentServer(options);
  await server.listen();
  return server;
}

function sendJson(response: ServerResponse, status: number, value: object): void {
  if (response.destroyed) return;
  const text = `${JSON.stringify(value)}\n`;
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
  });
  response.end(text);
}
