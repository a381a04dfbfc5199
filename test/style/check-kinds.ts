// What belongs to a policy kind. A kind is whatever has a kind's schema or a folder in src/kinds/; each needs all of
// the parts below, so that one which is added or removed by half is reported.
import type { SourceFile } from "./source-files.ts";

const listOfKinds = "src/kinds/index.ts";

/** Reports every part that a kind lacks, as `file:line: message`. */
export function checkKinds(files: readonly SourceFile[], known: readonly string[]): string[] {
  const byPath = new Map(files.map((file) => [file.path, file.text]));
  const kinds = new Set([...known, ...files.flatMap((file) => kindOf(file) ?? [])]);
  return [...kinds].sort().flatMap((kind) => {
    const name = pascalCase(kind);
    const lacks = (path: string, what: string) => `${path}:1: the kind ${name} lacks ${what}`;
    const examples = files.filter(({ path }) => /^policies\/.*\.(ya?ml|json)$/.test(path));
    const isExample = new RegExp(`^["\\s{]*kind"?:\\s*"?${name}"?\\s*,?\\s*$`, "m");
    return [
      ...(byPath.has(`schema/${kind}.schema.json`)
        ? []
        : [lacks(`schema/${kind}.schema.json`, "its schema")]),
      ...(byPath.has(`src/kinds/${kind}/index.ts`)
        ? []
        : [lacks(`src/kinds/${kind}/index.ts`, "its folder's door")]),
      ...(byPath.get(listOfKinds)?.includes(`"./${kind}/index.ts"`)
        ? []
        : [lacks(listOfKinds, "its line in the list of kinds")]),
      ...(examples.some(({ text }) => isExample.test(text)) ? [] : [lacks("policies", "an example policy")]),
      ...(byPath.has(`docs/kinds/${kind}.md`) ? [] : [lacks(`docs/kinds/${kind}.md`, "its page")]),
    ];
  });
}

/** The kind that a file makes known: by its schema, if that is one of a policy kind, or by its folder. */
function kindOf(file: SourceFile): string | undefined {
  const folder = /^src\/kinds\/([^/]+)\//.exec(file.path)?.[1];
  if (folder !== undefined) return folder;
  const schema = /^schema\/([^/]+)\.schema\.json$/.exec(file.path)?.[1];
  if (schema === undefined) return undefined;
  return JSON.parse(file.text).properties?.kind?.const === pascalCase(schema) ? schema : undefined;
}

function pascalCase(kind: string): string {
  return kind.replace(/(?:^|-)(\w)/g, (_, letter: string) => letter.toUpperCase());
}
