// Holds the house rules that a linter cannot, on the repository itself; the rows below prove with planted faults
// that each rule finds what it is there to find.
import { describe, expect, test } from "vitest";
import {
  checkDoors,
  checkLengths,
  checkNames,
  checkOpenings,
  checkStatements,
  checkVersions,
  checkWords,
} from "./check-house.ts";
import { listRepository, type SourceFile } from "./source-files.ts";

type Checker = (files: readonly SourceFile[]) => string[];

const rules: readonly { readonly name: string; readonly check: Checker }[] = [
  { name: "files open with what they are for", check: checkOpenings },
  { name: "files are short", check: checkLengths },
  { name: "errors are ours and exports are named", check: checkStatements },
  { name: "names say something", check: checkNames },
  { name: "no unfinished marks, machine paths or registry hosts", check: checkWords },
  { name: "what leaves a folder is documented", check: checkDoors },
  { name: "versions are exact", check: checkVersions },
];

describe("the repository", () => {
  const files = listRepository();
  test.each(rules)("$name", ({ check }) => {
    expect(check(files)).toEqual([]);
  });
});

interface Row {
  readonly name: string;
  readonly check: Checker;
  readonly path: string;
  readonly text: string;
  /** The line and the start of the message; nothing if the file is right. */
  readonly finds?: string;
}

const spdx = "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause";
const rows: readonly Row[] = [
  {
    name: "TypeScript without an opening comment",
    check: checkOpenings,
    path: "src/base/a.ts",
    text: "export const a = 1;\n// Late.\n",
    finds: "1: the file must open",
  },
  {
    name: "a script without an opening comment",
    check: checkOpenings,
    path: "scripts/a.sh",
    text: "#!/bin/sh\nset -e\n",
    finds: "1: the script must open",
  },
  {
    name: "C without a license",
    check: checkOpenings,
    path: "bpf/lib/a.h",
    text: "/* A header. */\n",
    finds: "1: the first line must be",
  },
  {
    name: "C under another license",
    check: checkOpenings,
    path: "bpf/a.bpf.c",
    text: "// SPDX-License-Identifier: MIT\n// A program.\n",
    finds: "1: the first line must be",
  },
  {
    name: "C without an opening comment",
    check: checkOpenings,
    path: "bpf/a.bpf.c",
    text: `// ${spdx}\n#include "x.h"\n`,
    finds: "1: the SPDX line must be followed",
  },
  {
    name: "right: a header",
    check: checkOpenings,
    path: "bpf/lib/a.h",
    text: `/* ${spdx} */\n/* A header. */\n`,
  },
  { name: "right: a script", check: checkOpenings, path: "scripts/a.sh", text: "#!/bin/sh\n# Does it.\n" },
  {
    name: "a long file",
    check: checkLengths,
    path: "src/base/a.ts",
    text: "\n".repeat(501),
    finds: "501: the file has more than 500 lines",
  },
  { name: "right: 500 lines", check: checkLengths, path: "src/base/a.ts", text: "\n".repeat(500) },
  {
    name: "right: a long generated file",
    check: checkLengths,
    path: "src/abi/generated/a.ts",
    text: "\n".repeat(501),
  },
  {
    name: "a plain error",
    check: checkStatements,
    path: "src/base/a.ts",
    text: `// A.\nthrow new Error("x");`,
    finds: "2: throw a PenstockError",
  },
  {
    name: "a plain error of another kind",
    check: checkStatements,
    path: "src/base/a.ts",
    text: `throw RangeError("x");`,
    finds: "1: throw a PenstockError",
  },
  {
    name: "a default export",
    check: checkStatements,
    path: "test/unit/a.ts",
    text: "export default 1;",
    finds: "1: exports are named",
  },
  {
    name: "a default function",
    check: checkStatements,
    path: "bench/a.ts",
    text: "export default function a() {}",
    finds: "1: exports are named",
  },
  {
    name: "a default by another name",
    check: checkStatements,
    path: "bench/a.ts",
    text: "const a = 1; export { a as default };",
    finds: "1: exports are named",
  },
  {
    name: "right: our error",
    check: checkStatements,
    path: "src/base/a.ts",
    text: `throw bug("x"); // throw new Error`,
  },
  {
    name: "right: configuration",
    check: checkStatements,
    path: "vitest.config.ts",
    text: "export default {};",
  },
  {
    name: "an empty folder name",
    check: checkNames,
    path: "src/utils/a.ts",
    text: "",
    finds: `1: "utils" says`,
  },
  {
    name: "an empty file name",
    check: checkNames,
    path: "src/bpf/map-helper.ts",
    text: "",
    finds: `1: "helper" says`,
  },
  { name: "right: a telling name", check: checkNames, path: "src/bpf/map.ts", text: "" },
  {
    name: "an unfinished mark",
    check: checkWords,
    path: "src/a.ts",
    text: `// A.\n// ${"TO"}${"DO"}: finish`,
    finds: `2: "${"TO"}${"DO"}": finish it`,
  },
  {
    name: "a machine's path",
    check: checkWords,
    path: "README.md",
    text: `cd ${"/wo"}rk/main`,
    finds: `1: "${"/wo"}rk/": this is a path`,
  },
  {
    name: "a person's folder",
    check: checkWords,
    path: "README.md",
    text: `cd ${"/ho"}me/me`,
    finds: `1: "${"/ho"}me/m": this is a path`,
  },
  {
    name: "a registry's host",
    check: checkWords,
    path: "Dockerfile",
    text: `# A.\n\nFROM deb.${"debian"}.org`,
    finds: `3: "deb.${"debian"}": registries`,
  },
  {
    name: "an exported function without a doc comment",
    check: (files) =>
      checkDoors([...files, { path: "src/abi/index.ts", text: `export { f } from "./f.ts";` }]),
    path: "src/abi/f.ts",
    text: "// F.\nexport function f() {}\nexport function inner() {}",
    finds: "2: f leaves its folder",
  },
  {
    name: "an exported class without a doc comment",
    check: (files) => checkDoors([...files, { path: "src/abi/index.ts", text: `export * from "./f.ts";` }]),
    path: "src/abi/f.ts",
    text: "// F.\n\nexport class F {}",
    finds: "3: F leaves its folder",
  },
  {
    name: "right: documented or inside",
    check: (files) => checkDoors([...files, { path: "src/abi/index.ts", text: `export * from "./f.ts";` }]),
    path: "src/abi/f.ts",
    text: "// F.\n/** Does f. */\nexport function f() {}\nfunction g() {}",
  },
  {
    name: "a range of versions",
    check: (files) => checkVersions([...files, { path: "package-lock.json", text: `{"packages":{"":{}}}` }]),
    path: "package.json",
    text: `{\n  "dependencies": {\n    "yaml": "^2.9.1"\n  }\n}`,
    finds: "3: yaml is not pinned",
  },
  {
    name: "a lockfile that lags behind",
    check: (files) =>
      checkVersions([
        ...files,
        { path: "package-lock.json", text: `{"packages":{"":{"dependencies":{"yaml":"2.9.0"}}}}` },
      ]),
    path: "package.json",
    text: `{"dependencies":{"yaml":"2.9.1"}}`,
    finds: "1: yaml differs",
  },
];

describe("the rules", () => {
  test.each(rows)("$name", ({ check, path, text, finds }) => {
    const found = check([{ path, text }]);
    if (finds === undefined) expect(found).toEqual([]);
    else expect(found).toEqual([expect.stringContaining(`${path}:${finds}`)]);
  });
});
