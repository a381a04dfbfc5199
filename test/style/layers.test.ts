// Holds the table of who may import whom (ARCHITECTURE.md), which no linter rule can express, on the repository
// itself; the rows below prove with planted faults that each kind of wrong import is found.
import { describe, expect, test } from "vitest";
import { checkLayers } from "./check-layers.ts";
import { listRepository } from "./source-files.ts";

test("every import in src/ follows the data flow", () => {
  expect(checkLayers(listRepository())).toEqual([]);
});

interface Row {
  readonly name: string;
  readonly path: string;
  readonly text: string;
  /** What the checker says; nothing if the source is right. */
  readonly finds?: string;
}

const rows: readonly Row[] = [
  {
    name: "a stage reaches back",
    path: "src/policy/parse.ts",
    text: `// Parses.\nimport { compile } from "../compile/index.ts";\n`,
    finds: "src/policy/parse.ts:2: src/policy may not import src/compile",
  },
  {
    name: "base imports a folder of ours",
    path: "src/base/errors.ts",
    text: `import { x } from "../abi/index.ts";`,
    finds: "src/base/errors.ts:1: src/base may not import src/abi",
  },
  {
    name: "a folder is re-exported the wrong way",
    path: "src/abi/index.ts",
    text: `export * from "../policy/index.ts";`,
    finds: "src/abi/index.ts:1: src/abi may not import src/policy",
  },
  {
    name: "a dynamic import goes the wrong way",
    path: "src/reconcile/loop.ts",
    text: `const bpf = await import("../bpf/index.ts");`,
    finds: "src/reconcile/loop.ts:1: src/reconcile may not import src/bpf",
  },
  {
    name: "an import type goes the wrong way",
    path: "src/audit/record.ts",
    text: `type Plan = import("../reconcile/index.ts").Plan;`,
    finds: "src/audit/record.ts:1: src/audit may not import src/reconcile",
  },
  {
    name: "a folder is entered past its door",
    path: "src/compile/compile.ts",
    text: `import { parsePrefix } from "../base/prefix.ts";`,
    finds: "src/compile/compile.ts:1: src/compile reaches past the door of src/base: import its index.ts",
  },
  {
    name: "the command line enters a folder past its door",
    path: "src/cli/main.ts",
    text: `import { load } from "../bpf/object.ts";`,
    finds: "src/cli/main.ts:1: src/cli reaches past the door of src/bpf: import its index.ts",
  },
  {
    name: "a kind imports another kind",
    path: "src/kinds/firewall/compile.ts",
    text: `import { sets } from "../address-set/index.ts";`,
    finds:
      "src/kinds/firewall/compile.ts:1: a kind may not import another kind (src/kinds/firewall imports src/kinds/address-set)",
  },
  {
    name: "a kind imports the list of kinds",
    path: "src/kinds/firewall/compile.ts",
    text: `import { kinds } from "../index.ts";`,
    finds: "src/kinds/firewall/compile.ts:1: src/kinds/firewall may not import src/kinds",
  },
  {
    name: "a value where only types may be imported",
    path: "src/server/socket.ts",
    text: `import { runLoop, type Status } from "../reconcile/index.ts";`,
    finds: "src/server/socket.ts:1: src/server may import types alone from src/reconcile: use import type",
  },
  {
    name: "type specifiers still import the module",
    path: "src/bpf/map.ts",
    text: `import { type Table } from "../compile/index.ts";`,
    finds: "src/bpf/map.ts:1: src/bpf may import types alone from src/compile: use import type",
  },
  {
    name: "isomorphic-git outside src/source",
    path: "src/cli/fetch.ts",
    text: `import http from "isomorphic-git/http/node";`,
    finds: "src/cli/fetch.ts:1: only src/source may import isomorphic-git",
  },
  {
    name: "koffi outside src/bpf",
    path: "src/abi/struct.ts",
    text: `import koffi from "koffi";`,
    finds: "src/abi/struct.ts:1: only src/bpf may import koffi",
  },
  {
    name: "src/ imports what is not in src/",
    path: "src/cli/bench.ts",
    text: `import { run } from "../../bench/main.ts";`,
    finds: "src/cli/bench.ts:1: src/ may not import bench/main.ts, which is outside src/",
  },
  {
    name: "a folder without a layer",
    path: "src/extra/thing.ts",
    text: "// A thing.\n",
    finds: "src/extra/thing.ts:1: src/extra is not a folder of the code map: give it a layer first",
  },
  {
    name: "the environment outside src/cli",
    path: "src/source/fetch.ts",
    text: `// Fetches.\n\nconst token = process.env["TOKEN"];\n`,
    finds: "src/source/fetch.ts:3: only src/cli may use process.env",
  },
  {
    name: "the environment by element access",
    path: "src/source/fetch.ts",
    text: `const token = globalThis.process["env"].TOKEN;`,
    finds: "src/source/fetch.ts:1: only src/cli may use process.env",
  },
  {
    name: "the environment by destructuring",
    path: "src/source/fetch.ts",
    text: "const { env } = process;",
    finds: "src/source/fetch.ts:1: only src/cli may use process.env",
  },
  {
    name: "stdout by import",
    path: "src/audit/sink.ts",
    text: `import { stdout as out } from "node:process";`,
    finds: "src/audit/sink.ts:1: only src/cli may use process.stdout",
  },
  {
    name: "an exit outside src/cli",
    path: "src/server/socket.ts",
    text: "process.exit(1);",
    finds: "src/server/socket.ts:1: only src/cli may use process.exit",
  },
  {
    name: "console outside src/cli",
    path: "src/bpf/object.ts",
    text: `console.error("x");`,
    finds: "src/bpf/object.ts:1: only src/cli may use console",
  },
  {
    name: "right: the command line uses everything",
    path: "src/cli/main.ts",
    text: "console.log(process.argv);",
  },
  {
    name: "right: through the door",
    path: "src/abi/generated/codecs.ts",
    text: `import { bug } from "../../base/index.ts";`,
  },
  {
    name: "right: a kind through the doors",
    path: "src/kinds/firewall/compile.ts",
    text: `import { Table } from "../../compile/index.ts";\nimport { x } from "./x.ts";`,
  },
  {
    name: "right: the list of kinds",
    path: "src/kinds/index.ts",
    text: `export { firewall } from "./firewall/index.ts";`,
  },
  {
    name: "right: types alone",
    path: "src/server/socket.ts",
    text: `import type { Status } from "../reconcile/index.ts";`,
  },
  { name: "right: the only user", path: "src/bpf/libbpf.ts", text: `import koffi from "koffi";` },
  {
    name: "right: words in comments and strings, other parts of process",
    path: "src/audit/record.ts",
    text: `// process.env and console.log are not used here.\nconst a = "process.exit"; const pid = process.pid;`,
  },
  {
    name: "right: outside src/ anything goes",
    path: "test/unit/a.test.ts",
    text: `import "../../src/bpf/x.ts";`,
  },
];

describe("the checker", () => {
  test.each(rows)("$name", ({ path, text, finds }) => {
    expect(checkLayers([{ path, text }])).toEqual(finds === undefined ? [] : [finds]);
  });
});
