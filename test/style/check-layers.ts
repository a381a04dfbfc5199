// Who may import whom in src/. The folders are the data flow (see ARCHITECTURE.md): an import that goes against it,
// or past another folder's door, is reported.
import path from "node:path/posix";
import ts from "typescript";
import { finding, parse, type SourceFile, walk } from "./source-files.ts";

interface Layer {
  /** Folders whose values and types may be imported. */
  readonly values: readonly string[];
  /** Folders of which only types may be imported. */
  readonly types: readonly string[];
}

const layer = (values: string[], types: string[] = []): Layer => ({ values, types });

/** The layers; `kinds` stands for the list of kinds, `kinds/*` for one kind; `cli` may import everything. */
const layers: Readonly<Record<string, Layer>> = {
  base: layer([]),
  abi: layer(["base"]),
  source: layer(["base"]),
  audit: layer(["base"]),
  policy: layer(["base"]),
  geo: layer(["base"]),
  compile: layer(["base", "policy", "geo", "abi"]),
  "kinds/*": layer(["base", "policy", "geo", "compile", "abi"]),
  kinds: layer(["base", "policy", "compile", "abi", "kinds/*"]),
  bpf: layer(["base", "abi"], ["compile"]),
  reconcile: layer(["base", "policy", "geo", "compile"], ["abi"]),
  server: layer(["base"], ["reconcile"]),
};

/** Packages that one folder alone may import. */
const onlyUsers: Readonly<Record<string, string>> = {
  "isomorphic-git": "source",
  koffi: "bpf",
  "mmdb-lib": "geo",
};

/** Parts of `process` that belong to the command line: the environment, exit codes, the terminal. */
const cliOnly = new Set(["env", "argv", "exit", "exitCode", "stdout", "stderr", "stdin"]);

interface Import {
  readonly specifier: string;
  readonly offset: number;
  readonly typeOnly: boolean;
}

/** Reports every import and every use of the process that its folder may not have, as `file:line: message`. */
export function checkLayers(files: readonly SourceFile[]): string[] {
  return files
    .filter((file) => file.path.startsWith("src/") && file.path.endsWith(".ts"))
    .flatMap((file) => {
      const tree = parse(file);
      const area = areaOf(file.path);
      if (area !== "cli" && area !== "kinds" && !area.startsWith("kinds/") && layers[area] === undefined) {
        return [finding(file, 0, `src/${area} is not a folder of the code map: give it a layer first`)];
      }
      return [
        ...listImports(tree).flatMap((used) => checkImport(file, area, used)),
        ...(area === "cli" ? [] : checkProcess(file, tree)),
      ];
    });
}

/** `compile` for src/compile/x.ts, `kinds/firewall` for a kind's folder, `kinds` for the list of kinds. */
function areaOf(file: string): string {
  const [, folder = "", kind = ""] = file.split("/");
  return folder === "kinds" && file.split("/").length > 3 ? `kinds/${kind}` : folder;
}

function checkImport(file: SourceFile, area: string, used: Import): string[] {
  const report = (message: string) => [finding(file, used.offset, message)];
  if (!used.specifier.startsWith(".")) {
    const name = Object.keys(onlyUsers).find(
      (known) => used.specifier === known || used.specifier.startsWith(`${known}/`),
    );
    const user = name === undefined ? undefined : onlyUsers[name];
    return user === undefined || user === area ? [] : report(`only src/${user} may import ${name}`);
  }
  const target = path.join(path.dirname(file.path), used.specifier);
  if (!target.startsWith("src/")) return report(`src/ may not import ${target}, which is outside src/`);
  const targetArea = areaOf(target);
  if (targetArea === area) return [];
  const problem = mayImport(area, targetArea, used.typeOnly);
  if (problem !== undefined) return report(problem);
  return target === `src/${targetArea}/index.ts`
    ? []
    : report(`src/${area} reaches past the door of src/${targetArea}: import its index.ts`);
}

function mayImport(area: string, target: string, typeOnly: boolean): string | undefined {
  if (area === "cli") return undefined;
  const generic = (name: string) => (name.startsWith("kinds/") ? "kinds/*" : name);
  const { values, types } = layers[generic(area)] ?? layer([]);
  if (values.includes(generic(target))) return undefined;
  if (!types.includes(target)) {
    return area.startsWith("kinds/") && target.startsWith("kinds/")
      ? `a kind may not import another kind (src/${area} imports src/${target})`
      : `src/${area} may not import src/${target}`;
  }
  return typeOnly ? undefined : `src/${area} may import types alone from src/${target}: use import type`;
}

/** Static imports, re-exports, dynamic imports and import types, in the order of the file. */
function listImports(tree: ts.SourceFile): Import[] {
  const found: Import[] = [];
  const add = (node: ts.Node | undefined, typeOnly: boolean) => {
    if (node === undefined || !ts.isStringLiteralLike(node)) return;
    found.push({ specifier: node.text, offset: node.getStart(tree), typeOnly });
  };
  walk(tree, (node) => {
    if (ts.isImportDeclaration(node)) {
      add(node.moduleSpecifier, node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword);
    } else if (ts.isExportDeclaration(node)) {
      add(node.moduleSpecifier, node.isTypeOnly);
    } else if (ts.isCallExpression(node) && isLoader(node.expression)) {
      add(node.arguments[0], false);
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal, true);
    }
  });
  return found;
}

function isLoader(callee: ts.Expression): boolean {
  return (
    callee.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(callee) && callee.text === "require")
  );
}

function checkProcess(file: SourceFile, tree: ts.SourceFile): string[] {
  const found: string[] = [];
  const report = (node: ts.Node, what: string) => {
    found.push(finding(file, node.getStart(tree), `only src/cli may use ${what}`));
  };
  walk(tree, (node) => {
    if (ts.isPropertyAccessExpression(node) || ts.isElementAccessExpression(node)) {
      const name = ts.isPropertyAccessExpression(node)
        ? node.name.text
        : literalText(node.argumentExpression);
      if (isGlobal(node.expression, "console")) report(node, "console");
      else if (isGlobal(node.expression, "process") && cliOnly.has(name)) report(node, `process.${name}`);
    } else if (ts.isVariableDeclaration(node) && node.initializer && isGlobal(node.initializer, "process")) {
      for (const name of boundNames(node.name)) if (cliOnly.has(name)) report(node, `process.${name}`);
    } else if (ts.isImportDeclaration(node) && /^(node:)?process$/.test(literalText(node.moduleSpecifier))) {
      const bindings = node.importClause?.namedBindings;
      if (bindings === undefined || !ts.isNamedImports(bindings)) return;
      for (const { name, propertyName } of bindings.elements) {
        const imported = (propertyName ?? name).text;
        if (cliOnly.has(imported)) report(node, `process.${imported}`);
      }
    }
  });
  return found;
}

/** True for `process` and for `globalThis.process`, whatever follows. */
function isGlobal(node: ts.Expression, name: string): boolean {
  if (ts.isIdentifier(node)) return node.text === name;
  return (
    ts.isPropertyAccessExpression(node) && node.name.text === name && isGlobal(node.expression, "globalThis")
  );
}

function literalText(node: ts.Expression): string {
  return ts.isStringLiteralLike(node) ? node.text : "";
}

function boundNames(name: ts.BindingName): string[] {
  if (!ts.isObjectBindingPattern(name)) return [];
  return name.elements.map((element) => (element.propertyName ?? element.name).getText());
}
