// Holds that every policy kind is whole: schema, folder, line in the list of kinds, example policy, page in docs/.
// The rows prove with a planted kind that each missing part is found.
import { describe, expect, test } from "vitest";
import { checkKinds } from "./check-kinds.ts";
import { listRepository, type SourceFile } from "./source-files.ts";

test("every kind of the repository is whole", () => {
  expect(
    checkKinds(listRepository(), ["address-set", "conntrack", "firewall", "interface-group", "port-set"]),
  ).toEqual([]);
});

const whole: readonly SourceFile[] = [
  { path: "schema/rate-limit.schema.json", text: `{"properties":{"kind":{"const":"RateLimit"}}}` },
  { path: "schema/agent.schema.json", text: `{"properties":{}}` },
  { path: "src/kinds/rate-limit/index.ts", text: "" },
  { path: "src/kinds/index.ts", text: `export { rateLimit } from "./rate-limit/index.ts";` },
  {
    path: "policies/edge.yaml",
    text: "apiVersion: penstock/v1\nkind: RateLimit\nmetadata: { name: edge }\n",
  },
  { path: "docs/kinds/rate-limit.md", text: "" },
];

const parts = [
  { part: "its schema", path: "schema/rate-limit.schema.json" },
  { part: "its folder's door", path: "src/kinds/rate-limit/index.ts" },
  { part: "its line in the list of kinds", path: "src/kinds/index.ts" },
  { part: "an example policy", path: "policies/edge.yaml", reportedAt: "policies" },
  { part: "its page", path: "docs/kinds/rate-limit.md" },
];

describe("the checker", () => {
  test("takes a kind that is whole, and the agent's configuration for no kind", () => {
    expect(checkKinds(whole, [])).toEqual([]);
  });

  test.each(parts)("finds that a kind lacks $part", ({ part, path, reportedAt }) => {
    const files = whole.filter((file) => file.path !== path);
    expect(checkKinds(files, [])).toEqual([`${reportedAt ?? path}:1: the kind RateLimit lacks ${part}`]);
  });

  test("finds that a known kind is gone altogether", () => {
    expect(checkKinds([], ["rate-limit"])).toHaveLength(parts.length);
  });

  test("does not take a mention of a kind for an example", () => {
    const files = whole.map((file) =>
      file.path === "policies/edge.yaml" ? { ...file, text: "# kind: RateLimit\nkind: RateLimiter\n" } : file,
    );
    expect(checkKinds(files, [])).toEqual(["policies:1: the kind RateLimit lacks an example policy"]);
  });
});
