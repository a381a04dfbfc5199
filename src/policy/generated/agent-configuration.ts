// Generated from schema/agent-configuration.schema.json by scripts/generate-policy-types.ts. Do not edit.
/**
 * The agent's own configuration on one host: where policy comes from, what this host is called, and how far the agent may go.
 */
export interface AgentConfiguration {
  readonly source: SourceConfiguration;
  readonly node: NodeConfiguration;
  readonly schedule: ScheduleConfiguration;
  /**
   * What happens when the kernel's tables depart from Git: enabled puts them back, warn reports it, disabled does not look.
   */
  readonly selfHeal: "enabled" | "warn" | "disabled";
  readonly limits: LimitsConfiguration;
  readonly geo?: GeoConfiguration;
  readonly events: EventsConfiguration;
  readonly rejects: RejectsConfiguration;
  /**
   * Where the clone of the repository, the audit log and the journal are kept.
   */
  readonly stateDirectory: string;
  /**
   * Where the agent's socket and lock are; emptied when the host starts.
   */
  readonly runDirectory: string;
  /**
   * The directory in a BPF file system where maps and links are pinned.
   */
  readonly pinDirectory: string;
  readonly log: LogConfiguration;
}
/**
 * The Git repository that holds the policy. At most one kind of credential may be given.
 */
export interface SourceConfiguration {
  /**
   * The address of the repository, without user name and password: https://git.example.org/network/policy.git, or an absolute path of a repository on this host.
   */
  readonly url: string;
  /**
   * The branch, tag or full commit id to follow.
   */
  readonly ref: string;
  /**
   * The folder in the repository that holds the policy files, relative to its root; a single dot means the root.
   */
  readonly path: string;
  /**
   * The user name that goes with the password; with a token, what the server wants instead of the default.
   */
  readonly username?: string;
  /**
   * A file that holds the password in its first line.
   */
  readonly passwordFile?: string;
  /**
   * A file that holds an access token in its first line.
   */
  readonly tokenFile?: string;
  /**
   * The environment variable that holds the password.
   */
  readonly passwordEnv?: string;
  /**
   * The environment variable that holds an access token.
   */
  readonly tokenEnv?: string;
  /**
   * How long one fetch may take.
   */
  readonly timeoutSeconds: number;
  /**
   * Accept a ref that was moved to a commit which does not descend from the last one. A rewritten history is otherwise refused.
   */
  readonly allowRewrite: boolean;
}
/**
 * What this host is, for spec.nodes of policy documents and for the audit log.
 */
export interface NodeConfiguration {
  /**
   * The host's name in records and reports. Absent means the system's host name.
   */
  readonly name?: string;
  /**
   * Key and value pairs that documents select hosts by.
   */
  readonly labels: {
    /**
     * The label's value.
     */
    readonly [k: string]: string;
  };
}
/**
 * When the agent looks, as cron expressions of five fields, or six with seconds first.
 */
export interface ScheduleConfiguration {
  /**
   * When to ask the repository for a new revision.
   */
  readonly poll: string;
  /**
   * When to compare all of the kernel's tables with the applied revision.
   */
  readonly scan: string;
}
/**
 * How large the kernel's tables are made. They take their memory as they fill; a policy that needs more is refused.
 */
export interface LimitsConfiguration {
  /**
   * Firewall rules of all documents together.
   */
  readonly rulesMax: number;
  /**
   * Prefixes of all sets and rules together, for each address family.
   */
  readonly addressesMax: number;
  /**
   * Network interfaces under policy.
   */
  readonly interfacesMax: number;
  /**
   * Connections that are known at one time. Their memory, 216 bytes each, is taken at once, so that none is wanting under a flood.
   */
  readonly connectionsMax: number;
}
/**
 * The database that says which networks are in which country, for AddressSet documents that name countries.
 */
export interface GeoConfiguration {
  /**
   * A MaxMind file with countries, such as GeoLite2-Country.mmdb. A new one is taken up at the next poll.
   */
  readonly database: string;
  /**
   * Days after which policy that uses the database is warned that it is old.
   */
  readonly maxAgeDays: number;
}
/**
 * Events that the datapath sends for logged packets.
 */
export interface EventsConfiguration {
  /**
   * Events a second and processor; packets beyond are counted but not reported. 0 sends none.
   */
  readonly perSecondMax: number;
}
/**
 * Answers to packets that rules reject.
 */
export interface RejectsConfiguration {
  /**
   * Answers a second, of all processors together; packets beyond are dropped without one. 0 sends none.
   */
  readonly perSecondMax: number;
}
/**
 * The agent's own log.
 */
export interface LogConfiguration {
  /**
   * The least severe messages that are written.
   */
  readonly level: "fatal" | "error" | "warn" | "info" | "debug" | "trace";
}
