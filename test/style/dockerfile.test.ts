// Holds that the Dockerfile copies only what exists, in the repository or made by its build stage: an image cannot
// be built everywhere where the tests run.
import { expect, test } from "vitest";
import { listRepository, type SourceFile } from "./source-files.ts";

/** What the build stage makes: compiled files, installed packages, and the Node that it comes with. */
const built = ["/build/dist", "/build/node_modules", "/usr/local/bin/node"];

/** Reports every source of a COPY that is not there, as `file:line: message`. */
function checkCopies(dockerfile: string, files: readonly SourceFile[]): string[] {
  const exists = (path: string) =>
    files.some((file) => file.path === path || file.path.startsWith(`${path}/`));
  return dockerfile.split("\n").flatMap((line, index) => {
    const [instruction, ...words] = line.trim().split(/\s+/);
    if (instruction !== "COPY") return [];
    const fromStage = words[0]?.startsWith("--from=") === true;
    const sources = words.slice(fromStage ? 1 : 0, -1);
    return sources
      .filter((source) => (fromStage ? !built.includes(source) : !exists(source.replace(/\/$/, ""))))
      .map((source) => `Dockerfile:${index + 1}: COPY of ${source}, which does not exist`);
  });
}

test("every path that the Dockerfile copies exists", () => {
  const files = listRepository();
  const dockerfile = files.find(({ path }) => path === "Dockerfile");
  expect(dockerfile?.text).toContain("COPY ");
  expect(checkCopies(dockerfile?.text ?? "", files)).toEqual([]);
});

test("the check finds paths that are gone", () => {
  const files = [
    { path: "src/cli/main.ts", text: "" },
    { path: "LICENSE", text: "" },
  ];
  const dockerfile =
    "FROM x\nCOPY LICENSE gone.json ./\nCOPY src src\nCOPY --from=build /build/dist /build/out ./\n";
  expect(checkCopies(dockerfile, files)).toEqual([
    "Dockerfile:2: COPY of gone.json, which does not exist",
    "Dockerfile:4: COPY of /build/out, which does not exist",
  ]);
});
