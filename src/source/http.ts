// HTTP as the source needs it: bounded bodies, a bound on silence, redirects that never carry credentials to
// another origin, and failures as typed errors. The only place that knows the credentials. Node's fetch takes
// no proxy from the environment and its certificate authorities from NODE_EXTRA_CA_CERTS.
import { Buffer } from "node:buffer";
import { PenstockError } from "../base/index.ts";
import { cleanText, makeScrubber } from "./clean-text.ts";
import type { SourceCredentials } from "./config.ts";
import * as errors from "./errors.ts";
import { describeFailure } from "./http-failure.ts";

export interface HttpRequest {
  readonly method: "GET" | "POST";
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** The body's longest length, after any content coding, and the limit's name. */
  readonly bytesMax: number;
  readonly limit: string;
  readonly signal: AbortSignal;
}

export interface HttpAnswer {
  /** Where the answer came from, after redirects. */
  readonly url: URL;
  readonly contentType: string;
  /** Fails with a PenstockError when it is cut off, falls silent, or is too long. Read it once, to its end. */
  readonly body: AsyncIterable<Uint8Array>;
}

export interface HttpOptions {
  /** The origin that may see the credentials. */
  readonly origin: string;
  readonly label: string;
  readonly credentials: SourceCredentials | undefined;
  readonly timeoutMs: number;
}

export interface HttpClient {
  /** Answers 200 or throws. GET follows redirects, POST does not (Git's own default). */
  request(request: HttpRequest): Promise<HttpAnswer>;
  /** Cleans text that came from the server and takes any secret of ours out of it. */
  quote(text: string): string;
}

const redirectsMax = 5;

export function createHttpClient(options: HttpOptions): HttpClient {
  const { label, origin, timeoutMs } = options;
  const authorization = authorizationOf(options.credentials);
  const scrub = makeScrubber(secretsOf(options.credentials));

  async function send(request: HttpRequest, url: URL, silence: Silence): Promise<Response> {
    const headers = new Headers({
      ...request.headers,
      "user-agent": "penstock",
      "accept-encoding": "identity",
    });
    if (authorization !== undefined && url.origin === origin) headers.set("authorization", authorization);
    const response = await fetch(url, {
      method: request.method,
      headers,
      redirect: "manual",
      signal: silence.signal,
      ...(request.body === undefined ? {} : { body: request.body }),
    });
    silence.heard();
    return response;
  }

  async function follow(request: HttpRequest, silence: Silence): Promise<{ url: URL; response: Response }> {
    let url = request.url;
    for (let count = 0; ; count++) {
      const response = await send(request, url, silence);
      if (response.status < 300 || response.status > 399) return { url, response };
      await response.body?.cancel();
      const target = response.headers.get("location") ?? "";
      const shown = scrub(cleanText(withoutSecrets(target), 300));
      const next = URL.canParse(target, url.href) ? new URL(target, url) : undefined;
      const safe =
        next !== undefined &&
        next.username === "" &&
        next.password === "" &&
        (next.protocol === "https:" || (next.protocol === "http:" && url.protocol === "http:"));
      if (!safe || request.method !== "GET" || count >= redirectsMax) {
        throw errors.redirected(label, shown === "" ? "nowhere" : `"${shown}"`);
      }
      url = next;
    }
  }

  return {
    quote: (text) => cleanText(scrub(text)),
    async request(request) {
      const silence = new Silence(request.signal, timeoutMs);
      const explain = (error: unknown): PenstockError =>
        error instanceof PenstockError ? error : describeFailure(error, { label, timeoutMs, silence });
      try {
        const { url, response } = await follow(request, silence);
        const failure = describeStatus(response.status, label, authorization !== undefined);
        if (failure !== undefined) {
          await response.body?.cancel();
          throw failure;
        }
        const contentType = (response.headers.get("content-type") ?? "").split(";")[0] ?? "";
        const body = readBody(response, { request, silence, label, explain });
        return { url, contentType: contentType.trim().toLowerCase(), body };
      } catch (error) {
        silence.end();
        throw explain(error);
      }
    },
  };
}

/** Reads an answer that is known to be small. */
export async function readAll(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Aborts when nothing was heard for too long, or when the caller aborts; remembers which. */
export class Silence {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal;
  readonly #timer: NodeJS.Timeout;
  readonly #onAbort = (): void => this.#controller.abort(this.#outer.reason);
  timedOut = false;

  constructor(outer: AbortSignal, timeoutMs: number) {
    this.#outer = outer;
    this.#timer = setTimeout(() => {
      this.timedOut = true;
      this.#controller.abort();
    }, timeoutMs);
    if (outer.aborted) this.#onAbort();
    else outer.addEventListener("abort", this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The caller's reason to abort, if it did. */
  get outerReason(): unknown {
    return this.#outer.aborted ? this.#outer.reason : undefined;
  }

  heard(): void {
    this.#timer.refresh();
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#outer.removeEventListener("abort", this.#onAbort);
  }
}

interface BodyContext {
  readonly request: HttpRequest;
  readonly silence: Silence;
  readonly label: string;
  readonly explain: (error: unknown) => PenstockError;
}

async function* readBody(response: Response, context: BodyContext): AsyncGenerator<Uint8Array> {
  const { request, silence, label, explain } = context;
  let bytes = 0;
  let ended = false;
  const reader = response.body?.getReader();
  try {
    while (reader !== undefined) {
      const piece = await reader.read();
      if (piece.done) break;
      silence.heard();
      bytes += piece.value.byteLength;
      if (bytes > request.bytesMax) {
        throw errors.overLimit(`the answer of ${label}`, {
          limit: request.limit,
          found: bytes,
          allowed: request.bytesMax,
        });
      }
      yield piece.value;
    }
    ended = true;
  } catch (error) {
    throw explain(error);
  } finally {
    silence.end();
    // Closes the connection of an answer that nobody reads to its end.
    if (!ended) await reader?.cancel().catch(() => undefined);
  }
}

function describeStatus(status: number, label: string, hasCredentials: boolean): PenstockError | undefined {
  if (status === 200) return undefined;
  if (status === 401 || status === 403) return errors.unauthorized(label, status, hasCredentials);
  if (status === 404 || status === 410) return errors.notFound(label, `the server answers HTTP ${status}`);
  if (status >= 500 || status === 429 || status === 408) {
    return errors.unreachable(label, `the server answers HTTP ${status}`, { status });
  }
  return errors.refused(label, status);
}

function authorizationOf(credentials: SourceCredentials | undefined): string | undefined {
  if (credentials === undefined) return undefined;
  if ("token" in credentials) {
    if (credentials.scheme === "bearer") return `Bearer ${credentials.token}`;
    return basic(credentials.username ?? "git", credentials.token);
  }
  const { username = "", password = "" } = credentials;
  return username === "" && password === "" ? undefined : basic(username, password);
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

function secretsOf(credentials: SourceCredentials | undefined): string[] {
  if (credentials === undefined) return [];
  const header = authorizationOf(credentials) ?? "";
  const plain = "token" in credentials ? credentials.token : (credentials.password ?? "");
  return [plain, header.slice(header.indexOf(" ") + 1)];
}

function withoutSecrets(location: string): string {
  return location.replace(/\/\/[^/?#]*@/, "//").replace(/[?#].*$/s, "");
}
