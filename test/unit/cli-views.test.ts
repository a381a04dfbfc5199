// How plans, outcomes, drift and events read: changes apart from drift, lists that stay readable, and exit codes.
import { describe, expect, test } from "vitest";
import { EventFlag, EventKind, EventLayout, FwReason, type PacketEvent } from "../../src/abi/index.ts";
import { PenstockError, type Revision } from "../../src/base/index.ts";
import { Output } from "../../src/cli/output.ts";
import { makeStyle } from "../../src/cli/style.ts";
import { renderDrift, viewDrift } from "../../src/cli/views/drift.ts";
import { renderEvent, viewEvent } from "../../src/cli/views/event.ts";
import { reportOutcome, viewOutcome } from "../../src/cli/views/outcome.ts";
import { type PlanView, renderPlan, viewPreview } from "../../src/cli/views/plan.ts";
import type {
  DescribedChange,
  DescribedChanges,
  DriftReport,
  Outcome,
  Plan,
  Preview,
} from "../../src/reconcile/index.ts";
import { testTerminal } from "./cli-terminal.ts";

const style = makeStyle(false);

const revision: Revision = {
  commit: "0123456789abcdef0123456789abcdef01234567",
  ref: "main",
  tree: "1".repeat(40),
  author: { name: "Ada Author", email: "ada@example.org", timestampS: 0 },
  committer: { name: "Carl", email: "carl@example.org", timestampS: 0 },
  subject: "Let the office in",
  files: [],
};

const added: DescribedChange = {
  action: "add",
  table: "fw_rules",
  subject: "rule edge/office-ssh",
  before: undefined,
  after: "pass tcp to port 22 on wan",
  position: { file: "policies/edge.yaml", line: 31, column: 7 },
  owner: "git",
};
const changed: DescribedChange = {
  ...added,
  action: "change",
  subject: "rule edge/web",
  before: "pass tcp to port 80 on wan",
  after: "pass tcp to port 443 on wan",
};
const removed: DescribedChange = {
  ...added,
  action: "remove",
  subject: "rule edge/old",
  before: "drop on wan",
  after: undefined,
  position: undefined,
};

function plan(more: Partial<Plan> = {}): Plan {
  return {
    tables: [
      {
        table: "fw_rules",
        add: 1,
        change: 1,
        remove: 1,
        writes: 3,
        deletes: 0,
        entriesBefore: 5,
        entriesAfter: 5,
        others: 0,
        capacity: 16384,
      },
    ],
    summary: { add: 1, change: 1, remove: 1 },
    attach: [],
    detach: [],
    changes: [],
    digest: async () => "d",
    empty: false,
    ...more,
  } as unknown as Plan;
}

function all(items: readonly DescribedChange[]): DescribedChanges {
  return { items, more: { add: 0, change: 0, remove: 0 } };
}

function drift(entries: readonly DescribedChange[], attachments: readonly string[] = []): DriftReport {
  const count = entries.length + attachments.length;
  return { entries: all(entries), attachments, count, plan: plan(), digest: "e" };
}

function preview(more: Partial<Preview & { kind: "plan" }>): Preview {
  return {
    kind: "plan",
    revision,
    plan: plan(),
    changes: all([]),
    digest: "d",
    drift: undefined,
    warnings: [],
    ...more,
  };
}

const about = {
  base: { kind: "kernel", generation: 7, applied: "main@sha1:aaaa" },
  inForce: "main@sha1:aaaa",
  held: undefined,
} as const;

describe("a plan", () => {
  test("reads like this", () => {
    const view = viewPreview(
      preview({ changes: all([added, changed, removed]), plan: plan({ attach: ["xdp_firewall on eth0"] }) }),
      about,
    );
    expect(
      renderPlan(view as PlanView, style).join("\n"),
    ).toBe(`Revision  main@sha1:0123456789ab "Let the office in" by Ada Author
Against   this kernel at generation 7, which holds main@sha1:aaaa

Policy
  + rule edge/office-ssh  policies/edge.yaml:31
      pass tcp to port 22 on wan
  ~ rule edge/web         policies/edge.yaml:31
      - pass tcp to port 80 on wan
      + pass tcp to port 443 on wan
  - rule edge/old
      drop on wan

Programs
  + xdp_firewall on eth0

  Table     writes  deletes  entries  capacity
  fw_rules       3        0   5 -> 5    16,384

Plan: 1 to add, 1 to change, 1 to remove.`);
  });

  test("keeps drift apart from changes", () => {
    const report = drift([added], ["xdp_firewall is not attached to eth0"]);
    const view = viewPreview(
      preview({
        changes: all([added, changed]),
        drift: report,
        plan: plan({ attach: ["xdp_firewall on eth0", "xdp_firewall on eth1"] }),
      }),
      about,
    ) as PlanView;
    expect(view).toMatchObject({
      pending: true,
      changes: { add: 0, change: 1, total: 1 },
      attach: ["xdp_firewall on eth1"],
    });
    const text = renderPlan(view, style).join("\n");
    expect(text).toContain(
      "Drift: the kernel departs from main@sha1:aaaa in 2 places. Applying puts this right.",
    );
    expect(text).toContain("Plan: 0 to add, 1 to change, 0 to remove.");
  });

  test("of nothing but drift has no change pending", () => {
    const view = viewPreview(preview({ changes: all([added]), drift: drift([added]) }), about) as PlanView;
    expect(view.pending).toBe(false);
    expect(renderPlan(view, style).at(-1)).toBe(
      "No changes. The policy is the applied one; only drift is to be put right.",
    );
  });

  test("that only records a revision has no change pending", () => {
    const tables = [
      {
        table: "applied",
        add: 0,
        change: 1,
        remove: 0,
        writes: 1,
        deletes: 0,
        entriesBefore: 1,
        entriesAfter: 1,
        others: 0,
        capacity: 1,
      },
    ];
    const view = viewPreview(preview({ plan: plan({ tables }) }), about) as PlanView;
    expect(view.pending).toBe(false);
    expect(renderPlan(view, style).at(-1)).toBe(
      "No changes. The kernel holds what the policy says; applying only records the revision.",
    );
  });

  test("lists 200 changes, rules before addresses, and counts the rest", () => {
    const addresses = Array.from({ length: 1000 }, (_, i) => ({
      ...added,
      table: "address_set_v4",
      subject: `${i} in address set feed`,
      after: "",
    }));
    const view = viewPreview(preview({ changes: all([...addresses, added]) }), about) as PlanView;
    expect(view.changes.listed).toHaveLength(200);
    expect(view.changes.listed[0]?.subject).toBe("rule edge/office-ssh");
    expect(view.changes).toMatchObject({ add: 1001, total: 1001 });
    expect(renderPlan(view, style)).toContain("  ... and 801 more");
  });

  test("counts entries that are not Git's apart", () => {
    const tables = plan().tables.map((table) => ({ ...table, others: 1200 }));
    const view = viewPreview(preview({ changes: all([added]), plan: plan({ tables }) }), about) as PlanView;
    expect(renderPlan(view, style).join("\n")).toContain("5 -> 5, 1,200 not Git's");
  });

  test("says that a revision is held back", () => {
    const view = viewPreview(preview({ changes: all([added]) }), {
      ...about,
      held: revision.commit,
    }) as PlanView;
    expect(renderPlan(view, style).join("\n")).toContain("Held back: this revision was rolled back");
  });

  test("shows no name that steers the terminal", () => {
    const evil = { ...added, subject: "rule \u001b[2Jevil", after: "pass\u202e" };
    const view = viewPreview(
      preview({ changes: all([evil]), revision: { ...revision, subject: "\u001b]0;x" } }),
      about,
    ) as PlanView;
    const text = renderPlan(view, style).join("\n");
    expect(["\u001b", "\u202e"].filter((character) => text.includes(character))).toEqual([]);
  });
});

describe("drift", () => {
  test("reads from the kernel's side", () => {
    const view = viewDrift(
      "main@sha1:aaaa",
      drift(
        [added, changed, removed, { ...changed, action: "repair" }],
        ["xdp_firewall is not attached to eth0"],
      ),
    );
    expect(
      renderDrift(view, style).join("\n"),
    ).toBe(`Drift: the kernel departs from main@sha1:aaaa in 5 places.

  - xdp_firewall is not attached to eth0
  - rule edge/office-ssh is missing  policies/edge.yaml:31
      policy: pass tcp to port 22 on wan
  ~ rule edge/web says something else  policies/edge.yaml:31
      policy: pass tcp to port 443 on wan
      kernel: pass tcp to port 80 on wan
  + rule edge/old is not of this policy
      kernel: drop on wan
  ~ rule edge/web is damaged  policies/edge.yaml:31`);
  });

  test("that is not there", () => {
    expect(renderDrift(viewDrift("main@sha1:aaaa", undefined), style)).toEqual([
      "No drift. The kernel holds what main@sha1:aaaa says.",
    ]);
  });
});

describe("an outcome", () => {
  const result = {
    generation: { before: 7n, after: 8n },
    written: 3,
    removed: 1,
    timingsMs: { prepare: 1.25, readBack: 0.5, commit: 0.002, grace: 12, confirm: 0, settle: 0.25 },
    settleError: undefined,
  };

  test("that was applied says what, and how long each stage took", () => {
    const terminal = testTerminal();
    const view = viewOutcome({
      kind: "applied",
      revision,
      plan: plan(),
      changes: all([added]),
      result,
      warnings: [],
    });
    expect(reportOutcome(view, new Output(terminal, "text"))).toBe(0);
    expect(terminal.out).toBe(`  + rule edge/office-ssh  policies/edge.yaml:31
      pass tcp to port 22 on wan
Applied main@sha1:0123456789ab "Let the office in" by Ada Author
Policy   1 added, 0 changed, 0 removed
Kernel   generation 7 -> 8, 3 entries written, 1 removed
Timing   prepare 1.3 ms, read back 0.500 ms, commit 0.002 ms, grace 12.0 ms, settle 0.250 ms
`);
  });

  test("is JSON that JSON can carry, generations included", () => {
    const terminal = testTerminal();
    const view = viewOutcome({
      kind: "healed",
      revision,
      plan: plan(),
      changes: all([]),
      result,
      warnings: [],
    });
    reportOutcome(view, new Output(terminal, "json"));
    expect(JSON.parse(terminal.out)).toMatchObject({
      outcome: "healed",
      generation: { before: 7, after: 8 },
    });
  });

  const rows: { readonly name: string; readonly outcome: Outcome; readonly code: string }[] = [
    {
      name: "refused",
      outcome: { kind: "refused", revision, findings: ["a.yaml:1:1 error x y", "a.yaml:2:1 warning x y"] },
      code: "invalid-policy",
    },
    { name: "held", outcome: { kind: "held", revision }, code: "held-back" },
    {
      name: "failed",
      outcome: {
        kind: "failed",
        revision,
        error: new PenstockError({ code: "table-full", disposition: "stalled", message: "Cannot" }),
        retry: false,
      },
      code: "table-full",
    },
  ];
  test.each(rows)("that is $name is an error", ({ outcome, code }) => {
    const output = new Output(testTerminal(), "text");
    expect(() => reportOutcome(viewOutcome(outcome), output)).toThrow(expect.objectContaining({ code }));
  });

  test("that is refused counts errors alone", () => {
    const output = new Output(testTerminal(), "text");
    const outcome = rows[0]?.outcome as Outcome;
    expect(() => reportOutcome(viewOutcome(outcome), output)).toThrow(
      /the policy has 1 error, and nothing was changed/,
    );
  });
});

describe("an event", () => {
  const names = {
    wallClockMs: (bootNs: bigint) => Number(bootNs / 1_000_000n),
    ruleName: (id: number) => (id === 9 ? "edge/office-ssh" : undefined),
    interfaceName: (index: number) => (index === 3 ? "eth0" : undefined),
  };
  const base: PacketEvent = {
    timeNs: 1_700_000_000_123_000_000n,
    source: Uint8Array.from([192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    destination: Uint8Array.from([192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ruleId: 9,
    sourcePort: 40000,
    destinationPort: 22,
    generation: 3,
    interface: 3,
    protocol: 6,
    flags: 0,
    reason: FwReason["rule-pass"],
  };
  const v6 = Uint8Array.from([0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), 1]);
  const rows: { readonly name: string; readonly event: Partial<PacketEvent>; readonly line: string }[] = [
    {
      name: "of a rule",
      event: {},
      line: "2023-11-14 22:13:20.123Z  pass          eth0      tcp     192.0.2.7:40000 -> 192.0.2.1:22               edge/office-ssh (rule-pass)",
    },
    {
      name: "of a rule on trial",
      event: {
        flags: EventFlag.drop | (EventKind.audit << EventLayout["kind-shift"]),
        reason: FwReason["rule-drop"],
      },
      line: "2023-11-14 22:13:20.123Z  would drop    eth0      tcp     192.0.2.7:40000 -> 192.0.2.1:22               edge/office-ssh (rule-drop)",
    },
    {
      name: "of a rule on trial that would answer",
      event: {
        flags: EventFlag.drop | (EventKind.audit << EventLayout["kind-shift"]),
        reason: FwReason.reject,
      },
      line: "2023-11-14 22:13:20.123Z  would reject  eth0      tcp     192.0.2.7:40000 -> 192.0.2.1:22               edge/office-ssh (reject)",
    },
    {
      name: "of IPv6, of a rule and an interface that are gone",
      event: { flags: EventFlag.ipv6, source: v6, destination: v6, ruleId: 4, interface: 8, protocol: 17 },
      line: "2023-11-14 22:13:20.123Z  pass          index 8   udp     [2001:db8::1]:40000 -> [2001:db8::1]:22       id 4 (rule-pass)",
    },
    {
      name: "of a later fragment, which has no ports",
      event: { flags: EventFlag.fragment | EventFlag["later-fragment"] },
      line: "2023-11-14 22:13:20.123Z  pass          eth0      tcp     192.0.2.7 -> 192.0.2.1 (later fragment)       edge/office-ssh (rule-pass)",
    },
    {
      name: "of a source that was blocked",
      event: {
        flags: EventFlag.drop | (EventKind.blocked << EventLayout["kind-shift"]),
        reason: FwReason.limit,
      },
      line: "2023-11-14 22:13:20.123Z  drop          eth0      tcp     192.0.2.7:40000 -> 192.0.2.1:22               edge/office-ssh (limit, source blocked)",
    },
    {
      name: "of what could not be read",
      event: {
        flags: EventFlag.drop | (EventKind.malformed << EventLayout["kind-shift"]),
        ruleId: 0,
        source: new Uint8Array(16),
        destination: new Uint8Array(16),
        reason: FwReason["truncated-ethernet"],
      },
      line: "2023-11-14 22:13:20.123Z  drop          eth0      -       not readable                                  truncated-ethernet",
    },
  ];
  test.each(rows)("$name", ({ event, line }) => {
    expect(renderEvent(viewEvent({ ...base, ...event }, names), style)).toEqual([line]);
  });
});
