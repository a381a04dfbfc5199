// Why a policy cannot be brought into the kernel although nothing in it is wrong: errors with the limit, what is
// wanted and what is there.
import { type ErrorFields, PenstockError } from "../base/index.ts";
import type { TableSpec } from "../compile/index.ts";
import type { TableDiff } from "./diff.ts";

/** The refusal of a plan that the kernel could not hold, with the numbers. */
export function tableFull(
  spec: TableSpec,
  n: { readonly wanted: number; readonly capacity: number; readonly peak: number; readonly others?: number },
): PenstockError {
  const { wanted, capacity, peak, others = 0 } = n;
  const beside = others > 0 ? ` beside ${others} that are not Git's` : "";
  const during = peak > wanted + others ? `, ${peak} while old and new stand side by side` : "";
  return new PenstockError({
    code: "table-full",
    disposition: "stalled",
    message: `Cannot prepare ${spec.name}: the policy needs ${wanted} entries${beside}${during}, and the table holds ${capacity}`,
    remedy: remedyFor(spec),
    data: { table: spec.name, wanted, peak, capacity, others },
  });
}

function remedyFor({ limit }: TableSpec): string {
  return limit === undefined
    ? "Make the policy smaller: the table's size is fixed"
    : `Raise limits.${limit} in the agent's configuration, or make the policy smaller`;
}

/** A write that the kernel refused, in the middle of a transaction that is aborted because of it. */
export function refusedWrite(
  diff: TableDiff,
  thrown: unknown,
  at: { readonly attempted: number; readonly capacity: number },
): PenstockError {
  const { spec, changes, observed } = diff;
  const cause = thrown instanceof PenstockError ? thrown : undefined;
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  if (cause?.code === "read-back-differs") return cause;
  return new PenstockError({
    code: cause?.code ?? "write-refused",
    disposition: cause?.disposition ?? "transient",
    message: `Cannot prepare ${spec.name}: ${reason}. ${at.attempted} of ${changes.count} entries were being prepared; ${observed.count} entries stood in the table before, ${diff.visibleAfter} are wanted, and it holds ${at.capacity}`,
    ...(cause?.remedy === undefined ? {} : { remedy: cause.remedy }),
    data: {
      ...cause?.data,
      table: spec.name,
      wanted: diff.visibleAfter,
      present: observed.count,
      capacity: at.capacity,
      prepared: at.attempted,
    },
    cause: thrown,
  });
}

/** A policy that takes more of this host than parsing and compiling may. */
export function policyTooCostly(
  fields: Pick<ErrorFields, "message" | "remedy" | "data" | "cause">,
): PenstockError {
  return new PenstockError({ code: "policy-too-costly", disposition: "stalled", ...fields });
}

/** True if the error lies in the revision: it stays until the revision or a limit changes. */
export function isRefusal(error: PenstockError): boolean {
  return error.code === "table-full" || error.code === "policy-too-costly";
}
