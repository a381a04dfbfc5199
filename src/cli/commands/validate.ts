// validate: is this policy right? Works on files of the working tree; needs neither Git nor a kernel.
import { formatDiagnostic } from "../../base/index.ts";
import { defineCommand } from "../command.ts";
import { exitCode } from "../exit-codes.ts";
import { commandOption } from "../options.ts";
import { renderDiagnostics } from "../output.ts";
import { countOf } from "../text.ts";
import { validatePaths } from "../validation.ts";

interface ValidateOptions {
  readonly rulesMax?: string;
  readonly geo?: string;
}

export const validateCommand = defineCommand<ValidateOptions>({
  name: "validate",
  summary: "Check policy files of a working tree",
  description:
    "Check policy files and folders, without Git and without a kernel, and show all that is wrong at once. " +
    "What spec.nodes keeps apart is checked for each kind of host by itself",
  arguments: [["<path...>", "files or folders with policy"]],
  options: [commandOption.rulesMax(), commandOption.geo()],
  flags: "none",
  examples: [
    ["penstock validate policies", "all files of a folder"],
    ["penstock validate policies/edge.yaml policies/addresses.yaml", "some files, taken together"],
    ["penstock validate policies --geo GeoLite2-Country.mmdb", "with the networks of countries"],
    ["penstock validate policies -o json", "findings for machines, such as a pull request's checks"],
  ],
  exits: { 0: "no errors (there may be warnings)", 1: "there are errors" },
  async run(context, { words, options }) {
    const { output } = context;
    const view = validatePaths(words, { ...options, now: Date.now() });
    output.result(
      { ...view, diagnostics: view.diagnostics.map((d) => ({ ...d, text: formatDiagnostic(d) })) },
      (_, style) => renderDiagnostics(view.diagnostics, style),
    );
    const what = `${countOf(view.files, "file")}, ${countOf(view.documents, "document")}`;
    output.note(`${what}: ${countOf(view.errors, "error")}, ${countOf(view.warnings, "warning")}`);
    return view.errors === 0 ? exitCode.done : exitCode.failed;
  },
});
