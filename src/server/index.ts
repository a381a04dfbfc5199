// The agent's socket, both ends. Knows the agent through an interface of its own and nothing of policy.
export { AgentClient, findAgent } from "./client.ts";
export type { AgentControl, Answer, RequestLog } from "./control.ts";
export type { ErrorBody } from "./errors.ts";
export { type AgentPath, agentPaths } from "./routes.ts";
export { AgentServer, type AgentServerOptions, startAgentServer } from "./server.ts";
