// The files of the repository as the checkers see them: a list of paths and texts. A checker is a function over
// such a list, so that a test can hand it a repository with a fault planted in it.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";

/** A file of the repository; `path` is relative to its root, with forward slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** The folder that holds package.json. */
export const root = fileURLToPath(new URL("../../", import.meta.url));

/** All files that are tracked or would be: what `git add .` would take. */
export function listRepository(): SourceFile[] {
  const args = ["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const listed = execFileSync("git", args, { cwd: root, encoding: "utf8" });
  const paths = [...new Set(listed.split("\0"))].filter((path) => path !== "" && existsSync(root + path));
  return paths.sort().map((path) => ({ path, text: readFileSync(root + path, "utf8") }));
}

/** `file:line: message`, the form in which every checker reports; `offset` counts characters from 0. */
export function finding(file: SourceFile, offset: number, message: string): string {
  return `${file.path}:${file.text.slice(0, offset).split("\n").length}: ${message}`;
}

/** True for TypeScript that people wrote. */
export function isHandWritten(file: SourceFile): boolean {
  return file.path.endsWith(".ts") && !file.path.includes("/generated/");
}

/** Parses one file; syntax errors are left to the compiler. */
export function parse(file: SourceFile): ts.SourceFile {
  return ts.createSourceFile(file.path, file.text, ts.ScriptTarget.Latest, true);
}

/** Calls `visit` for every node of a file, outermost first. */
export function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}
