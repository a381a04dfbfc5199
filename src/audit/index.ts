// The audit log: one record for each attempt, hash-chained JSON lines, verifiable by whoever trusts nothing else.
export type { AuditFinding, FindingKind } from "./chain.ts";
export { type AuditLog, type AuditLogOptions, openAuditLog } from "./log.ts";
export { type ReadOptions, readAuditRecords } from "./read.ts";
export {
  type AuditEntry,
  type AuditOutcome,
  type AuditPlan,
  type AuditRecord,
  type AuditRevision,
  type AuditTrigger,
  auditOutcomes,
  auditTriggers,
  type ChainEnd,
  type ChangeCounts,
  type TableDigests,
} from "./record.ts";
export { type AuditVerification, type VerifyOptions, verifyAuditLog } from "./verify.ts";
