// The agent's socket: who may open it, what it answers, and that nothing which comes in can hurt the agent.
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bug, PenstockError } from "../../src/base/index.ts";
import {
  type AgentControl,
  type AgentServer,
  type Answer,
  agentPaths,
  findAgent,
  startAgentServer,
} from "../../src/server/index.ts";

interface FakeControl extends AgentControl {
  readonly asked: unknown[];
  emit(event: Answer): void;
  readonly followers: number;
}

/** An agent that answers what it was asked. */
function fakeControl(): FakeControl {
  const asked: unknown[] = [];
  const followers = new Set<(event: Answer) => void>();
  const note = async (...what: unknown[]) => {
    asked.push(what);
    return { what };
  };
  return {
    asked,
    emit: (event) => {
      for (const follower of followers) follower(event);
    },
    get followers() {
      return followers.size;
    },
    status: () => note("status"),
    history: (limit) => note("history", limit),
    plan: (commit) => note("plan", commit),
    drift: () => note("drift"),
    counters: () => note("counters"),
    explain: (question) => note("explain", question),
    reconcile: () => note("reconcile"),
    rollback: (commit) => note("rollback", commit),
    recentEvents: async (limit) =>
      [{ n: 1 }, { n: 2 }, { n: 3 }].slice(-limit || 3, limit === 0 ? 0 : undefined),
    followEvents: (onEvent) => {
      followers.add(onEvent);
      return () => followers.delete(onEvent);
    },
  };
}

let folder = "";
let socketPath = "";
let control = fakeControl();
let server: AgentServer;
let logged: string[] = [];

const log = (level: string) => (_: object, message: string) => {
  logged.push(`${level} ${message}`);
};

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "penstock-socket-"));
  socketPath = join(folder, "agent.sock");
  control = fakeControl();
  logged = [];
  server = await start();
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

function start(): Promise<AgentServer> {
  return startAgentServer({
    socketPath,
    control,
    version: "1.2.3",
    log: { debug: log("debug"), info: log("info"), warn: log("warn") },
  });
}

interface RawAnswer {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: { readonly error?: { readonly code: string; readonly message: string } } & Record<
    string,
    unknown
  >;
}

function raw(method: string, path: string, body?: string | Buffer): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, method, path }, (response) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.on("end", () => {
        const text = Buffer.concat(pieces).toString();
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: text === "" ? {} : JSON.parse(text),
        });
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

describe("the socket's file", () => {
  test("is the owner's alone", () => {
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
    expect(statSync(socketPath).isSocket()).toBe(true);
  });

  test("goes with the server", async () => {
    await server.close();
    expect(existsSync(socketPath)).toBe(false);
  });

  test("of an agent that died is replaced", async () => {
    await server.close();
    // A socket that nobody listens on any more: its server's process ended without closing it.
    const { execFileSync } = await import("node:child_process");
    const script = `require("node:net").createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, 9))`;
    try {
      execFileSync(process.execPath, ["-e", script], { stdio: "ignore" });
    } catch {
      // It was killed, as it was told to be.
    }
    expect(statSync(socketPath).isSocket()).toBe(true);
    expect(await findAgent(socketPath)).toBeUndefined();
    server = await start();
    expect((await raw("GET", agentPaths.status)).status).toBe(200);
  });

  test("never replaces anything else", async () => {
    await server.close();
    writeFileSync(socketPath, "precious");
    await expect(start()).rejects.toMatchObject({ code: "socket-unusable" });
    expect(existsSync(socketPath)).toBe(true);
    rmSync(socketPath);
    server = await start();
  });

  test("has a path that fits", async () => {
    const long = join(folder, "x".repeat(120));
    const options = {
      socketPath: long,
      control,
      version: "1",
      log: { debug: log("d"), info: log("i"), warn: log("w") },
    };
    await expect(startAgentServer(options)).rejects.toMatchObject({ code: "socket-unusable" });
    expect(await findAgent(long)).toBeUndefined();
  });
});

describe("every path gives the control's answer", () => {
  const commit = "0123abcd";
  const rows: {
    readonly name: string;
    readonly method: string;
    readonly path: string;
    readonly body?: string;
    readonly asked: unknown[];
  }[] = [
    { name: "status", method: "GET", path: "/v1/status", asked: ["status"] },
    { name: "history", method: "GET", path: "/v1/history?limit=7", asked: ["history", 7] },
    { name: "history with its default", method: "GET", path: "/v1/history", asked: ["history", 20] },
    { name: "plan", method: "GET", path: "/v1/plan", asked: ["plan", undefined] },
    { name: "plan of a commit", method: "GET", path: `/v1/plan?commit=${commit}`, asked: ["plan", commit] },
    { name: "drift", method: "GET", path: "/v1/drift", asked: ["drift"] },
    { name: "counters", method: "GET", path: "/v1/counters", asked: ["counters"] },
    { name: "explain", method: "POST", path: "/v1/explain", body: '{"a":1}', asked: ["explain", { a: 1 }] },
    { name: "reconcile", method: "POST", path: "/v1/reconcile", asked: ["reconcile"] },
    { name: "rollback", method: "POST", path: "/v1/rollback", asked: ["rollback", undefined] },
    {
      name: "rollback to a commit",
      method: "POST",
      path: "/v1/rollback",
      body: `{"commit":"${commit}"}`,
      asked: ["rollback", commit],
    },
  ];
  test.each(rows)("$name", async ({ method, path, body, asked }) => {
    const { status, headers, body: answer } = await raw(method, path, body);
    expect(status).toBe(200);
    expect(headers["penstock-version"]).toBe("1.2.3");
    expect(control.asked).toEqual([asked]);
    expect(answer).toEqual(JSON.parse(JSON.stringify({ what: asked })));
  });

  test("and what changes the kernel is in the log", async () => {
    await raw("GET", "/v1/status");
    await raw("POST", "/v1/rollback");
    expect(logged).toEqual(["debug Asked over the socket", "info Asked over the socket"]);
  });
});

describe("refuses", () => {
  const rows: {
    readonly name: string;
    readonly method: string;
    readonly path: string;
    readonly body?: string | Buffer;
    readonly status: number;
    readonly code: string;
  }[] = [
    { name: "an unknown path", method: "GET", path: "/", status: 404, code: "unknown-path" },
    {
      name: "a path that an object has by nature",
      method: "GET",
      path: "/constructor",
      status: 404,
      code: "unknown-path",
    },
    { name: "a wrong method", method: "POST", path: "/v1/status", status: 405, code: "wrong-method" },
    {
      name: "another wrong method",
      method: "DELETE",
      path: "/v1/reconcile",
      status: 405,
      code: "wrong-method",
    },
    {
      name: "a limit that is none",
      method: "GET",
      path: "/v1/history?limit=-1",
      status: 400,
      code: "bad-request",
    },
    {
      name: "a limit without end",
      method: "GET",
      path: "/v1/events?limit=1001",
      status: 400,
      code: "bad-request",
    },
    {
      name: "a commit that is none",
      method: "GET",
      path: "/v1/plan?commit=main",
      status: 400,
      code: "bad-request",
    },
    {
      name: "a commit that is no text",
      method: "POST",
      path: "/v1/rollback",
      body: '{"commit":7}',
      status: 400,
      code: "bad-request",
    },
    {
      name: "a body that is no object",
      method: "POST",
      path: "/v1/rollback",
      body: "[]",
      status: 400,
      code: "bad-request",
    },
    {
      name: "a body that is no JSON",
      method: "POST",
      path: "/v1/explain",
      body: "{",
      status: 400,
      code: "bad-json",
    },
    {
      name: "a body that is no UTF-8",
      method: "POST",
      path: "/v1/explain",
      body: Buffer.from([0x22, 0xff, 0x22]),
      status: 400,
      code: "bad-json",
    },
    {
      name: "a body without end",
      method: "POST",
      path: "/v1/explain",
      body: Buffer.alloc(100_000, 0x20),
      status: 413,
      code: "body-too-large",
    },
  ];
  test.each(rows)("$name", async ({ method, path, body, status, code }) => {
    const answer = await raw(method, path, body);
    expect({ status: answer.status, code: answer.body.error?.code }).toEqual({ status, code });
    expect(control.asked).toEqual([]);
  });

  test("what is no HTTP, and goes on answering", async () => {
    await new Promise<void>((resolve) => {
      const socket = connect(socketPath, () => socket.end("\u0000\u0001 rubbish\r\n\r\n"));
      socket.resume().on("close", () => resolve());
    });
    expect((await raw("GET", agentPaths.status)).status).toBe(200);
  });
});

describe("errors", () => {
  const rows = [
    { name: "for a person", disposition: "stalled", status: 409 },
    { name: "for later", disposition: "transient", status: 503 },
    { name: "that are bugs", disposition: "bug", status: 500 },
  ] as const;
  test.each(rows)("$name reach the client as they were thrown", async ({ disposition, status }) => {
    const error = new PenstockError({
      code: "some-code",
      disposition,
      message: "Cannot do it",
      remedy: "Do this",
      data: { n: 1 },
    });
    control.reconcile = () => Promise.reject(error);
    expect((await raw("POST", agentPaths.reconcile)).status).toBe(status);
    const client = await findAgent(socketPath);
    await expect(client?.ask({ method: "POST", path: agentPaths.reconcile })).rejects.toMatchObject({
      code: "some-code",
      disposition,
      message: "Cannot do it",
      remedy: "Do this",
      data: { n: 1 },
    });
  });

  test("of any other kind are bugs, and show no stack", async () => {
    control.status = () => Promise.reject(new TypeError("x is not a function"));
    const { status, body } = await raw("GET", agentPaths.status);
    expect(status).toBe(500);
    expect(JSON.stringify(body)).not.toContain(" at ");
    expect(logged).toContain("warn Cannot go on: x is not a function");
  });

  test("leave the agent as it was", async () => {
    control.drift = () => Promise.reject(bug("Cannot"));
    for (let i = 0; i < 100; i++) await raw("GET", agentPaths.drift);
    expect((await raw("GET", agentPaths.status)).status).toBe(200);
  });
});

describe("events", () => {
  async function follow(limit: number, signal: AbortSignal, follow = true) {
    const client = await findAgent(socketPath);
    const seen: unknown[] = [];
    const done = (async () => {
      for await (const event of client?.events({ limit, follow, signal }) ?? []) seen.push(event);
    })();
    return { seen, done };
  }

  test("that are kept come in order, and the stream ends", async () => {
    const { seen, done } = await follow(2, new AbortController().signal, false);
    await done;
    expect(seen).toEqual([{ n: 2 }, { n: 3 }]);
  });

  test("are followed until the client goes, and then nobody listens any more", async () => {
    const controller = new AbortController();
    const { seen, done } = await follow(0, controller.signal);
    await expect.poll(() => control.followers).toBe(1);
    control.emit({ n: 4 });
    control.emit({ n: 5 });
    await expect.poll(() => seen).toEqual([{ n: 4 }, { n: 5 }]);
    controller.abort();
    await done;
    await expect.poll(() => control.followers).toBe(0);
  });

  test("that come while the kept ones are read are neither lost nor doubled", async () => {
    const kept = [{ n: 1 }, { n: 2 }];
    control.recentEvents = async () => {
      control.emit(kept[1] as Answer);
      control.emit({ n: 3 });
      return kept;
    };
    const controller = new AbortController();
    const { seen, done } = await follow(10, controller.signal);
    await expect.poll(() => seen).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
    controller.abort();
    await done;
  });

  test("end with the server", async () => {
    const { seen, done } = await follow(1, new AbortController().signal);
    await expect.poll(() => seen).toEqual([{ n: 3 }]);
    await server.close();
    await done;
    expect(control.followers).toBe(0);
  });

  test("are not kept for a client that does not read", async () => {
    await new Promise<void>((resolve) => {
      const socket = connect(socketPath, () => {
        socket.write("GET /v1/events?follow=1&limit=0 HTTP/1.1\r\nhost: agent\r\n\r\n");
        socket.pause();
        resolve();
      });
      socket.on("error", () => undefined);
    });
    await expect.poll(() => control.followers).toBe(1);
    const event = { text: "x".repeat(10_000) };
    for (let i = 0; i < 2000 && control.followers > 0; i++) {
      control.emit(event);
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await expect.poll(() => control.followers).toBe(0);
  });
});

describe("looking for an agent", () => {
  test("finds none where there is no file, or nobody listens", async () => {
    expect(await findAgent(join(folder, "none.sock"))).toBeUndefined();
    expect(await findAgent(join(folder, "no", "folder.sock"))).toBeUndefined();
  });

  test("learns its version", async () => {
    expect((await findAgent(socketPath))?.version).toBe("1.2.3");
  });

  test("an agent that breaks off its answer is unreachable", async () => {
    const client = await findAgent(socketPath);
    await server.close();
    const dying = createServer((socket) => {
      socket.resume().end("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
    });
    await new Promise<void>((resolve) => dying.listen(socketPath, resolve));
    const answer = client?.ask({ method: "GET", path: agentPaths.status });
    await expect(answer).rejects.toMatchObject({ code: "agent-unreachable", disposition: "transient" });
    await new Promise((resolve) => dying.close(resolve));
    server = await start();
  });

  test("what answers and is no agent is not believed", async () => {
    const client = await findAgent(socketPath);
    await server.close();
    const other = createServer((socket) => {
      socket.resume().end("HTTP/1.1 418 Teapot\r\ncontent-length: 2\r\n\r\n{}");
    });
    await new Promise<void>((resolve) => other.listen(socketPath, resolve));
    await expect(client?.ask({ method: "GET", path: agentPaths.status })).rejects.toMatchObject({
      code: "agent-unreachable",
      message: expect.stringContaining("it answered 418"),
    });
    await new Promise((resolve) => other.close(resolve));
    server = await start();
  });
});
