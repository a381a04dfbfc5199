// House rules that a linter cannot hold: how files open, how long they are, what they are called, what they must
// not say. Each rule is a function over the list of files and reports `file:line: message`.
import path from "node:path/posix";
import ts from "typescript";
import { finding, isHandWritten, parse, type SourceFile, walk } from "./source-files.ts";

const linesMax = 500;

/** Every file that people write opens with a comment that says what it is for. */
export function checkOpenings(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => {
    const report = (message: string) => [finding(file, 0, message)];
    if (/^bpf\/.*\.[ch]$/.test(file.path)) {
      const [first = "", second = ""] = file.text.split("\n");
      if (!/^(\/\/|\/\*) SPDX-License-Identifier: GPL-2\.0-only OR BSD-2-Clause( \*\/)?$/.test(first)) {
        return report("the first line must be // SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause");
      }
      return /^(\/\/|\/\*)/.test(second)
        ? []
        : report("the SPDX line must be followed by a comment that says what the file is for");
    }
    const opening = file.text.replace(/^#!.*\n/, "");
    if (file.path.endsWith(".ts") && !/^(\/\/|\/\*)/.test(opening)) {
      return report("the file must open with a comment that says what it is for");
    }
    if ((file.path.endsWith(".sh") || file.path === ".ci/run") && !/^#!.*\n# ./.test(file.text)) {
      return report("the script must open with #! and a comment that says what it is for");
    }
    return [];
  });
}

/** Files are short. */
export function checkLengths(files: readonly SourceFile[]): string[] {
  return files
    .filter((file) => isHandWritten(file) || /\.(c|h|sh)$/.test(file.path))
    .filter((file) => file.text.split("\n").length - 1 > linesMax)
    .map((file) => finding(file, file.text.length - 1, `the file has more than ${linesMax} lines: split it`));
}

/** Errors are PenstockError in src/, and nothing has a default export but tools' configuration. */
export function checkStatements(files: readonly SourceFile[]): string[] {
  return files.filter(isHandWritten).flatMap((file) => {
    const found: string[] = [];
    const tree = parse(file);
    walk(tree, (node) => {
      const report = (message: string) => found.push(finding(file, node.getStart(tree), message));
      if (ts.isThrowStatement(node) && file.path.startsWith("src/") && isPlainError(node.expression)) {
        report("throw a PenstockError with a code, a disposition and a remedy");
      }
      if (file.path.endsWith(".config.ts")) return;
      if (ts.isExportAssignment(node) || isDefault(node)) report("exports are named");
    });
    return found;
  });
}

function isPlainError(node: ts.Expression): boolean {
  const made = ts.isNewExpression(node) || ts.isCallExpression(node) ? node.expression : undefined;
  return made !== undefined && ts.isIdentifier(made) && /^(Error|TypeError|RangeError)$/.test(made.text);
}

function isDefault(node: ts.Node): boolean {
  if (ts.isExportSpecifier(node)) return node.name.text === "default";
  return (
    ts.canHaveModifiers(node) && node.modifiers?.some((m) => m.kind === ts.SyntaxKind.DefaultKeyword) === true
  );
}

const emptyNames = new Set(
  ["util", "helper", "common", "manager", "service", "misc"].flatMap((name) => [name, `${name}s`]),
);

/** Names say what a thing is; these say nothing. Generated files are called as what they come from. */
export function checkNames(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ path }) => path !== "schema/common.schema.json" && !path.includes("/generated/"))
    .flatMap((file) => {
      const parts = file.path.split("/").flatMap((part) => part.split(".")[0]?.split("-") ?? []);
      const empty = parts.find((part) => emptyNames.has(part.toLowerCase()));
      return empty === undefined
        ? []
        : [finding(file, 0, `"${empty}" says nothing: name it by what it holds`)];
    });
}

/** Words that are never written here; in pieces, so that this file passes its own check. */
const banned: readonly { readonly pattern: RegExp; readonly message: string }[] = [
  { pattern: /\b(TO|FIX)(?:DO|ME)\b|\bX(?:X)X\b/, message: "finish it or leave it out, without a mark" },
  { pattern: /\/(?:work|tmp\/pk)\//, message: "this is a path of somebody's machine" },
  { pattern: /(?<![\w.-])\/(?:root|home)\/\w/, message: "this is a path of somebody's machine" },
  { pattern: /\bsess(?:ion)s?\b/i, message: "use the field's word: run, connection, transaction" },
  {
    pattern: /\b(?:clau)(?:de)\b|\b(?:anthro)(?:pic)\b|\bchat(?:gpt)\b|\bco(?:pilot)\b/i,
    message: "leave it out",
  },
  {
    pattern:
      /\b(?:registry\.(?:npm)js|registry\.(?:yarn)pkg|deb\.(?:deb)ian|archive\.(?:ubu)ntu|py(?:pi)\.org)/i,
    message: "registries have mirrors: name no host of one",
  },
];

/** No unfinished marks, no machine's paths, no registry hosts. */
export function checkWords(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) =>
    banned.flatMap(({ pattern, message }) => {
      const match = pattern.exec(file.text);
      return match === null ? [] : [finding(file, match.index, `"${match[0]}": ${message}`)];
    }),
  );
}

/** What a folder shows at its door is documented; types may speak for themselves. */
export function checkDoors(files: readonly SourceFile[]): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const doors = files.filter((file) => /^src\/(?!cli\/).*\/index\.ts$/.test(file.path));
  return doors.flatMap((door) =>
    parse(door).statements.flatMap((statement) => {
      if (!ts.isExportDeclaration(statement) || statement.isTypeOnly) return [];
      const specifier = statement.moduleSpecifier;
      if (specifier === undefined || !ts.isStringLiteral(specifier)) return [];
      const file = byPath.get(path.join(path.dirname(door.path), specifier.text));
      if (file === undefined || !isHandWritten(file)) return [];
      const clause = statement.exportClause;
      const names =
        clause && ts.isNamedExports(clause)
          ? clause.elements.map((e) => (e.propertyName ?? e.name).text)
          : [];
      return checkDocumented(file, clause === undefined ? undefined : new Set(names));
    }),
  );
}

/** Reports exported functions and classes without a doc comment; `names` limits it to some of them. */
function checkDocumented(file: SourceFile, names: ReadonlySet<string> | undefined): string[] {
  const tree = parse(file);
  return tree.statements.flatMap((statement) => {
    if (!ts.isFunctionDeclaration(statement) && !ts.isClassDeclaration(statement)) return [];
    const name = statement.name?.text ?? "";
    const exported = statement.modifiers?.some((m) => m.kind === ts.SyntaxKind.ExportKeyword) === true;
    if (!exported || (names !== undefined && !names.has(name))) return [];
    if (ts.getJSDocCommentsAndTags(statement).length > 0) return [];
    return [finding(file, statement.getStart(tree), `${name} leaves its folder: give it a doc comment`)];
  });
}

/** Dependencies are exact, and the lockfile holds the same and names no registry. */
export function checkVersions(files: readonly SourceFile[]): string[] {
  const file = files.find(({ path }) => path === "package.json");
  const lock = files.find(({ path }) => path === "package-lock.json");
  if (file === undefined || lock === undefined)
    return ["package.json:1: package.json or its lockfile is missing"];
  const wanted = readDependencies(JSON.parse(file.text));
  const locked = readDependencies(JSON.parse(lock.text).packages[""]);
  const report = (name: string, message: string) =>
    finding(file, file.text.indexOf(`"${name}":`), `${name} ${message}`);
  return [
    ...[...wanted].flatMap(([name, version]) => {
      if (!/^\d+\.\d+\.\d+$/.test(version)) return [report(name, `is not pinned: ${version}`)];
      return locked.get(name) === version
        ? []
        : [report(name, "differs in package-lock.json: run npm install")];
    }),
    ...[...lock.text.matchAll(/"resolved": "https?:/g)]
      .slice(0, 1)
      .map((match) => finding(lock, match.index, "the lockfile names a registry (see .npmrc)")),
  ];
}

function readDependencies(manifest: Record<string, Record<string, string>>): Map<string, string> {
  return new Map(["dependencies", "devDependencies"].flatMap((part) => Object.entries(manifest[part] ?? {})));
}
