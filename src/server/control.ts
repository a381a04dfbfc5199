// What the agent can be asked to do over its socket. The server knows nothing else of the agent: the command
// line's composition root fills this in. Answers are values that JSON can carry, and are sent as they are.

/** A value that JSON can carry; what it means is between the command line and itself. */
export type Answer = object;

/** The agent, as far as its socket goes. What it throws becomes the error that the client gets. */
export interface AgentControl {
  status(): Promise<Answer>;
  /** Revisions that were applied, newest first. */
  history(limit: number): Promise<Answer>;
  /** What applying the newest revision, or the given one, would do. */
  plan(commit: string | undefined): Promise<Answer>;
  drift(): Promise<Answer>;
  counters(): Promise<Answer>;
  /** What happens to a packet under the policy in force. The question comes from outside and was not checked. */
  explain(question: unknown): Promise<Answer>;
  /** Brings the kernel to the newest revision now. */
  reconcile(): Promise<Answer>;
  /** Goes back to a commit, or to the revision before the current one. */
  rollback(commit: string | undefined): Promise<Answer>;
  /** The newest events that are kept, oldest first. */
  recentEvents(limit: number): Promise<readonly Answer[]>;
  /** Calls `onEvent` for each event from now on; the returned function ends that. */
  followEvents(onEvent: (event: Answer) => void): () => void;
}

/** Where the server tells what it was asked. */
export interface RequestLog {
  debug(facts: object, message: string): void;
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
}
