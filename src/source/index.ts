// Git -> Revision: follows one ref of one repository, over HTTP or on this machine, and reads the policy files
// of its commits without a work tree. Knows Git and nothing of policy.
export type { RevisionInfo } from "./commits.ts";
export {
  defaultLimits,
  type SourceConfig,
  type SourceCredentials,
  type SourceLimits,
} from "./config.ts";
export type { SourceEvent } from "./events.ts";
export { openSource, type Source } from "./source.ts";
export { readStoreIdentity, type StoreIdentity } from "./store.ts";
